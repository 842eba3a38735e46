"""`finetune` as a function: datasets and features in memory, registered encoders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.models.encoders.backbones import images, save_backbone
from tests.training.bump_world import FPS, LENGTH, SIDE, WIDTH, BumpWorld
from tests.training.tiny import assert_same_state, trainer_config
from vjepa_world.data.trajectories.config import FeaturesConfig, TrajectoryDataConfig
from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig, LatentsConfig
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.models.encoders.registered import ENCODERS, RegisteredEncoder, register_encoder
from vjepa_world.pretrained import load_encoder, load_world_model
from vjepa_world.training.finetune.config import FinetuneConfig
from vjepa_world.training.finetune.finetune import finetune
from vjepa_world.training.finetune.frozen_features import feature_key

CONFIG = FinetuneConfig(
    data=TrajectoryDataConfig(frames=3),
    predictor=ActionPredictorConfig(embed_dim=48, depth=2, num_heads=2, mlp_ratio=2.0),
    latents=LatentsConfig(kind="none"),
    trainer=trainer_config(steps=3, threads=1),
    device="cpu",
)
WORLD = BumpWorld(120, seed=1)


def dataset(images: bool = False) -> InMemoryDataset:
    """Return the bumps as arrays; their images are noise."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (len(WORLD.numbers), LENGTH, 32, 32, 3), dtype=np.uint8)
    episodes = [
        EpisodeArrays(states=episode.states, actions=episode.actions, frames=frames[number] if images else {})
        for number, episode in enumerate(WORLD.numbers)
    ]
    return InMemoryDataset(episodes, fps=FPS)


def features() -> list[Tensor]:
    return [by_camera["camera0"] for by_camera in WORLD.features]


def test_a_model_learns_from_features_in_memory_and_plans_from_them(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    trainer = trainer_config(
        steps=600, batch_size=24, lr=2e-3, cooldown=0.5, log_every=50, checkpoint_every=600, threads=1
    )
    config = replace(CONFIG, trainer=trainer, data=TrajectoryDataConfig(frames=3, val_fraction=0.1))
    result = finetune(config, dataset=dataset(), features=features(), folder=tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    last = result.metrics()[-1]
    assert last["val_error"] < 0.9 * last["val_copy_last_frame"]
    assert last["val_shuffled_actions"] > 1.1 * last["val_error"]
    model = load_world_model(result.folder)
    assert_same_state(model, result.model)

    states, actions = (
        torch.stack([torch.from_numpy(getattr(episode, name)) for episode in WORLD.numbers]).float()
        for name in ("states", "actions")
    )
    windows = torch.stack(features())
    context = model.encode_features(windows[:, :1], states[:, :1])
    assert context.features.shape == (len(windows), 1, SIDE**2, WIDTH)
    predicted = model.rollout(context, actions[:, None, :1])[:, 0, 0]
    goals = torch.stack([model.goal_features(frame) for frame in windows[:, 1]])
    copied = context.features[:, 0]
    assert (predicted - goals).abs().mean() < 0.9 * (copied - goals).abs().mean()
    with pytest.raises(ConfigError, match="trained on features in memory and has no encoder"):
        model.encode(torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8), states[:1, :1])


def test_learned_tokens_are_trained_on_features_in_memory(tmp_path: Path) -> None:
    latents = LatentsConfig(kind="queries", side=2, embed_dim=16, depth=1, num_heads=2)
    config = replace(CONFIG, latents=latents)
    result = finetune(config, dataset=dataset(), features=features(), folder=tmp_path / "run")
    assert result.metrics()[-1]["loss_reconstruct"] > 0
    assert result.model.goal_features(features()[0]).shape == (LENGTH, 4, WIDTH)


def test_features_that_do_not_belong_to_the_dataset_are_refused(tmp_path: Path) -> None:
    short = features()
    short[3] = short[3][:-1]
    for given in (short, features()[:-1]):
        with pytest.raises(
            DataError, match=r"the features of .* are .*; expected finite numbers \[9, 16, 8\]"
        ):
            finetune(CONFIG, dataset=dataset(), features=given, folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="2 tokens of width 8; expected a square number of tokens"):
        finetune(CONFIG, dataset=dataset(), features=[f[:, :2] for f in features()], folder=tmp_path / "run")
    several = replace(CONFIG, data=TrajectoryDataConfig(frames=3, views="all"))
    both = replace(CONFIG, encoder="pixels")
    with pytest.raises(
        ConfigError, match="of one dataset and one view; leave data.sources and data.views=all out"
    ):
        finetune(several, dataset=dataset(), features=features(), folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="encoder is not given; give encoder=runs/pretrain/first"):
        finetune(CONFIG, dataset=dataset(), folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="encoder is 'pixels', and features in memory are given too"):
        finetune(both, dataset=dataset(), features=features(), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Patches(nn.Module):
    """A frozen encoder: one linear map of each patch of 8 x 8 pixels."""

    image_size, num_frames = 32, 1

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(3, 12, 8, stride=8, bias=False)
        nn.init.normal_(self.map.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, video: Tensor) -> Tensor:
        return (
            self.map(video.flatten(0, 1))
            .flatten(2)
            .transpose(1, 2)
            .unflatten(0, video.shape[:2])
            .flatten(1, 2)
        )


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENCODERS, "_own", dict(ENCODERS._own))
    register_encoder("patches")(Patches)


@pytest.mark.parametrize("cache", [True, False])
def test_a_registered_encoder_is_used_by_its_name(patches: None, tmp_path: Path, cache: bool) -> None:
    config = replace(
        CONFIG, encoder="patches", features=FeaturesConfig(cache=cache, root=str(tmp_path / "cache"))
    )
    result = finetune(config, dataset=dataset(images=True), folder=tmp_path / "run")
    model = load_world_model(result.folder)
    assert_same_state(model, result.model)
    assert (model.config.encoder_kind, model.config.encoder_name) == ("registered", "patches")
    with pytest.raises(ConfigError, match="'patches' has no features of a part of the tokens"):
        model.encoder(torch.zeros(1, 2, 3, 32, 32), torch.tensor([[0, 1]]))
    frames = torch.randint(0, 256, (2, 1, 3, 32, 32), dtype=torch.uint8)
    context = model.encode(frames, torch.zeros(2, 1, 2))
    tokens = load_encoder("patches")((frames.float() / 255 - MEAN) / STD)
    torch.testing.assert_close(
        context.features[:, 0], nn.functional.layer_norm(tokens, (12,)), atol=1e-4, rtol=1e-4
    )


MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def test_an_encoder_without_the_expected_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENCODERS, "_own", dict(ENCODERS._own))

    class Pooled(Patches):
        def forward(self, video: Tensor) -> Tensor:
            return super().forward(video)[:, :3]

    register_encoder("pooled")(Pooled)
    with pytest.raises(ConfigError, match=r"'pooled' returns \[1, 3, 12\] for one image of 32 pixels"):
        load_encoder("pooled")
    register_encoder("nothing")(nn.Identity)
    with pytest.raises(ConfigError, match="the encoder 'nothing' is not a module with weights"):
        load_encoder("nothing")
    with pytest.raises(
        ConfigError,
        match="unknown encoder 'projections'; allowed: .*nothing, pooled.* Encoders are registered by plugins: .* in "
        "VJEPA_WORLD_PLUGINS, or .* entry point group vjepa_world.plugins",
    ):
        RegisteredEncoder("projections")


@pytest.mark.parametrize("cache", [True, False])
def test_a_backbone_of_transformers_is_a_frozen_encoder(tmp_path: Path, cache: bool) -> None:
    """The checkpoint holds all that the model needs: the folder of the backbone is gone when it is loaded."""
    pytest.importorskip("transformers")
    folder = save_backbone("dinov2", tmp_path / "backbone")
    expected = load_encoder(folder)
    config = replace(
        CONFIG, encoder=str(folder), features=FeaturesConfig(cache=cache, root=str(tmp_path / "cache"))
    )
    result = finetune(config, dataset=dataset(images=True), folder=tmp_path / "run")
    shutil.rmtree(folder)
    model = load_world_model(result.folder)
    assert_same_state(model, result.model)
    assert model.preprocessing == expected.preprocessing == Preprocessing(**BACKBONE_INPUT)
    frames = images(2, 90, 131)
    with torch.no_grad():
        tokens = expected(expected.preprocessing(frames).unsqueeze(1))
    context = model.encode(frames[:, None], torch.zeros(2, 1, 2))
    torch.testing.assert_close(
        context.features[:, 0], nn.functional.layer_norm(tokens, (32,)), atol=1e-4, rtol=1e-4
    )


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BACKBONE_INPUT: dict[str, Any] = {
    "size": 64,
    "resize": 73,
    "keep_aspect": True,
    "interpolation": "bicubic",
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
}


def test_the_preprocessing_is_part_of_the_cache_key(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    data, keys = dataset(images=True), []
    for scale in (1.0, 2.0):
        folder = save_backbone("vit", tmp_path / f"backbone{scale}")
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"image_std": [0.5 * scale] * 3}))
        config = replace(CONFIG, encoder=str(folder), features=FeaturesConfig(root=str(tmp_path / "cache")))
        result = finetune(config, dataset=data, folder=tmp_path / f"run{scale}")
        keys.append(feature_key(result.model, data, ("camera0",), dtype=torch.float32))
    assert keys[0].encoder == keys[1].encoder  # the same weights
    assert keys[0] != keys[1]
    caches = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(caches) == 2


def test_a_robot_whose_states_no_rule_gives_is_hinted_at_before_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)

    def hints(name: str, states: int, predict_state: bool = False) -> str:
        episodes = [
            EpisodeArrays(
                frames=rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8),
                states=rng.random((4, states), dtype=np.float32),
                actions=rng.random((3, 2), dtype=np.float32),
            )
            for _ in range(8)
        ]
        predictor = replace(CONFIG.predictor, predict_state=predict_state)
        config = replace(
            CONFIG,
            predictor=predictor,
            encoder="pixels",
            model=EncoderConfig(
                image_size=32, patch_size=8, num_frames=2, embed_dim=24, depth=1, num_heads=2
            ),
            features=FeaturesConfig(root=str(tmp_path / "features")),
        )
        caplog.clear()
        finetune(config, dataset=InMemoryDataset(episodes, fps=FPS), folder=tmp_path / name)
        return caplog.text

    assert "more than one step cannot be made; train with predictor.predict_state=true" in hints("three", 3)
    assert "take a state plus an action as the next state; train with" in hints("two", 2)
    assert "predict_state" not in hints("predicted", 3, predict_state=True)
