"""A user's code as a frozen encoder, `encoder=module:function`: uint8 images `[B, 3, S, S]` to features `[B, N, D]`.

The function may have an attribute `image_size`, S (224 without). Code that can be called without an argument makes a
module instead, which is used as a registered encoder is.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError, VJEPAWorldError, described
from vjepa_world.models.encoders.preprocessing import Preprocessing

#: S of a function without the attribute [pixels].
IMAGE_SIZE = 224

#: How far the features of a test image may be from those at training, as a share of their standard deviation.
TOLERANCE = 0.05

#: Features of the test image that are stored.
STORED = 64

ImageFunction = Callable[[Tensor], Tensor]


def is_path_of_code(name: str) -> bool:
    """Return whether a name has the form `module:function`."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None


def is_plugin(name: str) -> bool:
    """Return whether the user lets the module of `module:function` be imported: VJEPA_WORLD_PLUGINS names it."""
    named = os.environ.get("VJEPA_WORLD_PLUGINS", "").split(",")
    return name.partition(":")[0] in {entry.strip() for entry in named}


def import_encoder(name: str) -> Callable[..., nn.Module]:
    """Return what makes the encoder `module:function`; modules are also found in the current folder.

    Raises:
        ConfigError: If it cannot be imported, or takes more than the images.
    """
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        target = getattr(importlib.import_module(module), attribute)
        needed = _needed_arguments(target)
    except Exception as error:  # of foreign code: any
        raise ConfigError(
            f"the encoder {name} cannot be imported ({type(error).__name__}: {error}); give MODULE:FUNCTION of a "
            "module in the current folder or of an installed package."
        ) from error
    if needed == 0:
        made: Callable[..., nn.Module] = target
        return made
    if needed == 1:
        return lambda: FunctionEncoder(target, name)
    raise ConfigError(
        f"the encoder {name} needs {needed} arguments; give a function of one, uint8 images [B, 3, S, S], which "
        "returns features [B, N, D], or one of none, which returns a torch.nn.Module."
    )


def _needed_arguments(target: Any) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(target).parameters.values()
    return sum(p.default is p.empty and p.kind in (*kinds, p.KEYWORD_ONLY) for p in parameters)


@contextlib.contextmanager
def errors_in_words(name: str, when: str) -> Iterator[None]:
    """Turn what a user's code raises into an error that names it; our own errors and a lack of memory pass.

    Args:
        name: The encoder.
        when: What it did, as the end of a sentence.

    Raises:
        ConfigError: If the code raised another error.
    """
    try:
        yield
    except (VJEPAWorldError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of foreign code: any
        raise ConfigError(
            f"the encoder {name} raised {described(error).rstrip('. ')}, {when}; correct it, and call it alone in "
            "Python to see the traceback."
        ) from error


class FunctionEncoder(nn.Module):
    """A function of images as a module. Its only weights are its features of a test image, which tell it from others.

    Args:
        function: From uint8 images `[B, 3, S, S]` to features `[B, N, D]`.
        name: What it is called in messages.
    """

    num_frames = 1

    def __init__(self, function: ImageFunction, name: str) -> None:
        super().__init__()
        self.function, self.name = function, name
        self.image_size = getattr(function, "image_size", IMAGE_SIZE)
        # The function reads pixels from 0 to 255: nothing is normalised.
        self.preprocessing = Preprocessing(size=self.image_size, mean=(0.0,) * 3, std=(1 / 255,) * 3)
        self.sample = nn.Parameter(self._measured(), requires_grad=False)

    @torch.no_grad()
    def _measured(self) -> Tensor:
        """Return some features of a test image, `[STORED]` or fewer."""
        shape = (1, 3, self.image_size, self.image_size)
        image = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        first, again = (
            self._checked(self._called(image.clone()), image).float().cpu().clone() for _ in range(2)
        )
        if first.shape == again.shape and _differ(again, first):
            raise ConfigError(
                f"the encoder {self.name} returned other features for the same image when it was called again, so it "
                "is not deterministic; switch off dropout (call .eval() on its network), noise and random crops."
            )
        both = torch.cat([image, 255 - image])
        together = self._checked(self._called(both), both).float().cpu()
        if together[:1].shape != first.shape or _differ(together[:1], first):
            raise ConfigError(
                f"the encoder {self.name} returned other features for an image next to another one than alone; each "
                "must depend on its own image only: call .eval() on its network (BatchNorm), and compute nothing over "
                "the batch."
            )
        flat = first.flatten()
        return flat[:: max(flat.numel() // STORED, 1)][:STORED].clone()

    def forward(self, video: Tensor) -> Tensor:
        """Return features `[B, N, D]` of frames `[B, 1, 3, S, S]`, from 0 to 255."""
        images = video.flatten(0, 1).round().to(torch.uint8)
        return self._checked(self._called(images), images).to(video.device)

    def _called(self, images: Tensor) -> object:
        """Return what the function returns for uint8 images `[B, 3, S, S]`."""
        with errors_in_words(self.name, f"for {_kind(images)}"):
            return self.function(images)

    def _checked(self, features: object, images: Tensor) -> Tensor:
        if not isinstance(features, Tensor) or features.ndim != 3 or not features.is_floating_point():
            got = (
                f"{features.dtype} {list(features.shape)}" if isinstance(features, Tensor) else type(features)
            )
            raise ConfigError(
                f"the encoder {self.name} returned {got} for {_kind(images)}; return a float tensor [B, N, D]."
            )
        return features

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Refuse the weights of a world model whose features this function does not compute any more."""
        stored = state_dict.get(f"{prefix}sample")
        if isinstance(stored, Tensor) and stored.shape == self.sample.shape and not stored.is_meta:
            own, then = self.sample.cpu().float(), stored.cpu().float()
            if _differ(own, then):
                raise ConfigError(
                    f"the encoder {self.name} returns other features of a test image than when the model was trained: "
                    f"{own[:3].tolist()} instead of {then[:3].tolist()}; restore the code and its weights, or train "
                    "again."
                )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _kind(images: Tensor) -> str:
    return f"{str(images.dtype).removeprefix('torch.')} images {list(images.shape)}"


def _differ(features: Tensor, expected: Tensor) -> bool:
    """Return whether features are further from the expected ones than `TOLERANCE`; both of one shape."""
    return bool((features - expected).abs().max() > TOLERANCE * max(expected.std().item(), 1e-6))
