"""Random clips of videos in memory.

Shapes: T frames of a clip, R frames of a video, V views, C = 3 channels (RGB), H W pixels, S pixels of square images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from vjepa_world.data.config import VideoDataConfig
from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.loading.mixture import Clip, Watch
from vjepa_world.data.loading.transforms import crop_views
from vjepa_world.errors import DataError
from vjepa_world.ops.tensor_checks import check_frames


class ArrayClips(Dataset[Clip]):
    """Random clips of T consecutive frames; entry e of step s depends on (seed, s, e) only.

    Args:
        videos: uint8 `[R, C, H, W]` each, at the rate that is to be trained on; R >= T, or R = 1 for an image, which
            is repeated.
        config: How clips are cropped and flipped.
        num_frames: T.
        image_size: S.
        seed: Decides all clips.
        views: V, independent crops and flips of the same frames.

    Raises:
        ConfigError: If a video is not a uint8 tensor of these axes.
        DataError: If there is no video, or one is shorter than a clip.
    """

    def __init__(
        self,
        videos: Sequence[Tensor],
        config: VideoDataConfig,
        *,
        num_frames: int,
        image_size: int,
        seed: int,
        views: int = 1,
    ) -> None:
        self.videos = [
            check_frames(video, "[R, 3, H, W]", name=f"videos[{number}]")
            for number, video in enumerate(videos)
        ]
        self.config, self.seed, self.views = config, seed, views
        self.num_frames, self.image_size = num_frames, image_size
        self.bad, self.total = BadFiles(config.max_bad_fraction), len(videos)
        if not self.videos:
            raise DataError("videos is empty; give at least one video, uint8 [R, 3, H, W].")
        for number, video in enumerate(self.videos):
            if 1 < len(video) < num_frames:
                raise DataError(
                    f"videos[{number}] has {len(video)} frames, and a clip takes {num_frames} (model.num_frames); give "
                    "longer videos, single images, or fewer frames per clip."
                )

    def __len__(self) -> int:
        return len(self.videos)

    def shape(self, step: int) -> tuple[int, int, int, int, int]:
        """Return `[V, T, C, S, S]` of the clips of a step."""
        return self.views, self.num_frames, 3, self.image_size, self.image_size

    @property
    def largest_shape(self) -> tuple[int, int, int, int, int]:
        """Return `[V, T, C, S, S]`, the same for all clips."""
        return self.shape(0)

    def clip(self, step: int, entry: int, watch: Watch | None = None) -> Clip:
        """Return entry `entry` of step `step`; `watch` gets the video's name before it is read."""
        rng = np.random.default_rng((self.seed, step, entry))
        number = int(rng.integers(len(self.videos)))
        video, name = self.videos[number], f"videos[{number}]"
        if watch is not None:
            watch(0, name)
        start = int(rng.integers(max(len(video) - self.num_frames, 0) + 1))
        views = crop_views(
            video[start : start + self.num_frames], self.views, self.image_size, self.config, rng
        )
        return Clip(views.expand(-1, self.num_frames, -1, -1, -1), f"{name}, frame {start}", "", ())

    def __getitem__(self, index: tuple[int, int]) -> Clip:
        return self.clip(*index)
