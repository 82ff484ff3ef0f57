"""Windows of videos, features of layers, time steps and tokens, and attention: equal to a plain forward by hand."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tubelet
from tubelet.errors import RecipeError, VideoError
from tubelet.inference.features import write_features
from tubelet.inference.kinds import FeatureKind, parse_layer
from tubelet.inference.windows import Length, Windows, too_short
from tubelet.loading.data import Data
from tubelet.models.encoder import Vit
from tubelet.types import Clip
from tubelet.video.crop import Crop, crop_frames
from tubelet.video.limits import Limits
from tubelet.video.reader import read_span
from tubelet.video.sampling import Sampling
from tubelet.video.writer import write_video

CLIP = Clip(frames=4, size=32, tubelet_frames=2, tubelet_size=16)
DATA = Data(sampling=Sampling(stride=2))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    encoder = Vit(width=32, depth=3, heads=2).build(CLIP).eval()
    vars(encoder)["sampling"] = DATA.sampling
    return encoder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """5.2 seconds of ten frames each, a key frame every 12."""
    path = tmp_path_factory.mktemp("videos") / "long.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (52, 3, 4, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
    write_video(path, frames, 10.0)
    return path


def by_hand(encoder, path, start, end):
    """The clip in the middle of a window, and its tokens after every block and after the norm."""
    frames, times = read_span(path, float(start), float(end))
    chosen = DATA.sampling.times(times, encoder.clip, "centre").times
    shown = frames[np.searchsorted(times, chosen)]
    video = crop_frames(shown, Crop.centre(*shown.shape[1:3]), encoder.clip.size)[None]
    layers = []
    hooks = [block.register_forward_hook(lambda *call: layers.append(call[-1])) for block in encoder.blocks]
    with torch.no_grad():
        last = encoder.encode(video)
    for hook in hooks:
        hook.remove()
    return [tokens[0] for tokens in layers], last[0]


def table_of(encoder, path, out, **options):
    write_features(encoder, [path], out, DATA, batch=3, **options)
    return pq.read_table(out)


def test_every_window_has_the_feature_of_its_clip(encoder, video, tmp_path):
    table = table_of(encoder, video, tmp_path / "f.parquet", windows=Windows.of(1.0, 0.5))
    rows = table.to_pylist()
    want = np.arange(0, 4.6, 0.5)
    np.testing.assert_allclose([row["start"] for row in rows], want)
    np.testing.assert_allclose([row["end"] for row in rows], np.minimum(want + 1, 5.2))
    assert {row["path"] for row in rows} == {str(video)}
    for row in rows:
        _, tokens = by_hand(encoder, video, row["start"], row["end"])
        np.testing.assert_allclose(row["feature"], tokens.mean(0), atol=1e-5)
    [found] = tubelet.embed(encoder, [video], windows=1.0, overlap="50%")
    np.testing.assert_allclose(found.features, np.stack(table["feature"].to_pylist()), atol=1e-6)
    assert found.start.tolist() == table["start"].to_pylist()
    assert found.end.tolist() == table["end"].to_pylist()


@pytest.mark.parametrize("layer", [None, 0, 2, 3, "all"])
@pytest.mark.parametrize("features", ["mean", "time_step", "token"])
def test_features_of_layers_steps_and_tokens_are_those_of_a_plain_forward(encoder, video, tmp_path, features, layer):
    kind = FeatureKind(features, layer)
    table = table_of(encoder, video, tmp_path / "f.parquet", kind=kind)
    field = table.schema.field("feature")
    shape = json.loads(field.metadata[b"shape"])
    assert field.type.list_size == np.prod(shape)
    assert json.loads(field.metadata[b"grid"]) == list(CLIP.grid)
    layers, last = by_hand(encoder, video, 0, 5.2)
    if layer == 0:
        want = None
    else:
        want = last[None] if layer is None else torch.stack(layers if layer == "all" else [layers[layer - 1]])
        if features == "mean":
            want = want.mean(1)
        if features == "time_step":
            want = want.unflatten(1, (CLIP.grid[0], -1)).mean(2)
        want = want if layer == "all" else want[0]
    found = np.array(table["feature"][0].as_py()).reshape(shape)
    given = tubelet.embed(encoder, video, features=features, layer=layer)
    assert given.shape == (1, *shape)
    np.testing.assert_allclose(given[0], found, atol=1e-6)
    if want is not None:
        np.testing.assert_allclose(found, want, atol=1e-5)


def test_attention_is_what_scaled_dot_product_attention_gives_each_token(encoder, video):
    """Attention to a token is what it adds to the output, so values that are one-hot bring it out."""
    [found] = tubelet.embed(encoder, video, attention=True)
    assert found.attention.shape == (1, *CLIP.grid)
    assert found.attention.sum().item() == pytest.approx(1, abs=1e-5)
    layers, _ = by_hand(encoder, video, 0, 5.2)
    block = encoder.blocks[-1]
    attention = block.attention
    with torch.no_grad():
        x = block.norm1(layers[-2])
        qkv = torch.nn.functional.linear(
            x, attention.qkv.weight, torch.cat((attention.q_bias, torch.zeros(32), attention.v_bias))
        )
        q, k, _ = (part.unflatten(-1, (2, 16)).transpose(0, 1) for part in qkv.chunk(3, -1))
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, torch.eye(8).expand(2, 8, 8))
    np.testing.assert_allclose(found.attention.flatten(), seen.mean((0, 1)), atol=1e-6)


def test_half_precision_and_attention_stand_in_the_table(encoder, video, tmp_path):
    kind = FeatureKind("time_step", None, attention=True, half=True)
    table = table_of(encoder, video, tmp_path / "f.parquet", kind=kind, windows=Windows.of(2.0))
    assert str(table.schema.field("feature").type.value_type) == "halffloat"
    assert json.loads(table.schema.field("attention").metadata[b"shape"]) == list(CLIP.grid)
    assert table.num_rows == 3
    [found] = tubelet.embed(encoder, video, features="time_step", windows=2.0, attention=True)
    np.testing.assert_allclose(
        np.stack(table["feature"].to_pylist()).reshape(found.features.shape), found.features, atol=2e-3
    )
    np.testing.assert_allclose(np.stack(table["attention"].to_pylist()), found.attention.flatten(1), atol=1e-3)


def test_what_was_made_before_is_kept_and_a_changed_file_is_made_again(encoder, video, tmp_path):
    out, other = tmp_path / "f.parquet", tmp_path / "other.mp4"
    other.write_bytes(video.read_bytes())
    windows = Windows.of(2.0)
    write_features(encoder, [video], out, DATA, windows=windows)
    first = pq.read_table(out)["feature"].to_pylist()
    done = write_features(encoder, [video, other], out, DATA, windows=windows, only_missing=True)[2]
    assert (done.total, done.made) == (1, 1)
    assert pq.read_table(out)["feature"].to_pylist() == first * 2
    frames = np.full((30, 48, 64, 3), 90, np.uint8)
    write_video(other, frames, 10.0)
    done = write_features(encoder, [video, other], out, DATA, windows=windows, only_missing=True)[2]
    assert (done.total, done.made) == (1, 1)
    assert pq.read_table(out)["feature"].to_pylist()[:3] == first
    assert pq.read_table(out)["end"].to_pylist() == pytest.approx([2, 4, 5.2, 2, 3])


def test_a_video_without_an_end_has_one_row_that_says_why(encoder, video, tmp_path):
    (tmp_path / "a.mp4").write_bytes(video.read_bytes())
    (tmp_path / "b.mp4").write_bytes(b"no video")
    table = table_of(encoder, tmp_path, tmp_path / "f.parquet", windows=Windows.of(3.0))
    assert table["status"].to_pylist() == ["ok", "ok", "unreadable"]
    assert table["feature"].to_pylist()[2] is None
    with pytest.raises(VideoError, match=r"b\.mp4"):
        tubelet.embed(encoder, tmp_path / "b.mp4", windows=3.0)


@settings(deadline=None, max_examples=200)
@given(
    st.floats(0.1, 10), st.floats(0, 0.95), st.integers(1, 300), st.floats(1, 60), st.floats(0, 3),
)  # fmt: skip
def test_windows_hold_every_frame_and_none_is_empty(seconds, share, frames, rate, begin):
    times = begin + np.arange(frames) / rate
    windows = Windows.of(seconds, share)
    spans = list(windows.spans(begin, Length(begin, times[-1], times[-1] + 1 / rate)))
    held = [set(np.flatnonzero((times >= start - 1e-6) & (times < end - 1e-6))) for start, end in spans]
    assert set().union(*held) == set(range(frames))
    assert all(end - start == pytest.approx(seconds) for start, end in spans[:-1])
    assert [start for start, _ in spans] == pytest.approx(
        [begin + number * (seconds - windows.overlap) for number in range(len(spans))]
    )


@pytest.mark.parametrize(
    ("seconds", "overlap", "want"),
    [(2, "0", 0), (2, "0.5", 1), (2, "25%", 0.5), (2, "0.5s", 0.5), (4, "1.5", 1.5), (2, 0.5, 1), (4, ".5", 2)],
)
def test_an_overlap_is_a_share_or_seconds(seconds, overlap, want):
    assert Windows.of(seconds, overlap).overlap == pytest.approx(want)


@pytest.mark.parametrize(("seconds", "overlap"), [(0, "0"), (-1, "0"), (2, "2s"), (2, "100%"), (2, "half"), (1, "-1")])
def test_windows_that_do_not_move_on_are_refused(seconds, overlap):
    with pytest.raises(RecipeError):
        Windows.of(seconds, overlap)


def test_a_layer_or_a_window_that_cannot_be_is_one_line(encoder, video):
    for wrong in (4, -1):
        with pytest.raises(RecipeError, match="layers 0"):
            tubelet.embed(encoder, video, layer=wrong)
    with pytest.raises(RecipeError, match="number of a block"):
        parse_layer("last")
    with pytest.raises(RecipeError, match="one of mean, time_step, token"):
        FeatureKind("tokens")
    assert "spans 0.2 s" in (too_short(Windows.of(0.1), DATA.sampling, CLIP) or "")
    assert too_short(Windows.of(1), DATA.sampling, CLIP) is None


def test_the_limits_of_the_python_face_are_those_of_the_command(encoder, video, tmp_path):
    with pytest.raises(VideoError, match=r"long\.mp4: its frames take"):
        tubelet.embed(encoder, video, limits=Limits(memory=1000))
