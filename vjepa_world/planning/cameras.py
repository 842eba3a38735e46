"""Pictures of several cameras side by side, the form in which world models take them.

Legend: V views, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vjepa_world.errors import ConfigError, counted


def side_by_side(pictures: Mapping[str, Any], name: str = "image", *, views: int = 1) -> np.ndarray:
    """Return the pictures of the first cameras side by side, uint8 `[..., H, V*W, 3]`.

    Args:
        pictures: An observation, or an environment's `info`: the first camera's picture `[..., H, W, 3]` is called
            `name`, and that of a further one `name_CAMERA`.
        name: What the pictures are called: image, goal_image or subgoal_images.
        views: V, how many cameras are shown.

    Raises:
        ConfigError: If there are fewer pictures, or they differ in size.
    """
    keys = [name, *(key for key in pictures if key.startswith(f"{name}_"))][:views]
    if len(keys) < views:
        raise ConfigError(
            f"the world model looks at {counted(views, 'camera')} side by side, and the environment shows only "
            f"{', '.join(keys)}. Name as many cameras as in its training, in the same order, such as "
            "env.cameras=[main,wrist] of the arm's tasks. Goals of another environment are shown by each camera if its "
            "info has goal_image_CAMERA, if env.goal=module:function returns a dictionary of images, or if they are "
            "recorded ones."
        )
    found = [np.asarray(pictures[key]) for key in keys]
    sizes = {key: picture.shape for key, picture in zip(keys, found, strict=True)}
    if len(set(sizes.values())) > 1:
        raise ConfigError(
            f"the cameras' pictures differ in size: {sizes}; a world model takes them side by side. Give "
            "env.image_size, to which all are resized."
        )
    return np.concatenate(found, axis=-2)
