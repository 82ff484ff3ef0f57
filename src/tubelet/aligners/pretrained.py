"""Checkpoints of transformers, from a local folder or a hub name. Start reading at `load`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from tubelet.aligners.clip import ClipAligner, check_reading
from tubelet.aligners.siglip import SiglipAligner
from tubelet.errors import WeightsError

FAMILIES: Mapping[str, tuple[str, type[ClipAligner]]] = {
    "clip": ("CLIPModel", ClipAligner),
    "siglip": ("SiglipModel", SiglipAligner),
}
"""By the `model_type` of a checkpoint. The SigLIP 2 checkpoints of fixed size say `siglip` too."""


def load(
    name: str, reading: str = "dense", scorer: str = "raw", device: str | None = None, option: str = "--aligner"
) -> ClipAligner:
    """The aligner of a checkpoint: a CLIP or a SigLIP. `option` is where the user named it.

    `WeightsError` where transformers or the weights are absent, incomplete, or of another class.
    """
    check_reading(reading, scorer)
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(f"CLIP needs transformers ({error}); install it with `pip install 'tubelet[vl]'`") from None
    local = os.path.isdir(name)
    offline = local or not reachable()
    kind = ""
    try:
        with quiet_transformers(transformers):
            kind = transformers.AutoConfig.from_pretrained(
                name, local_files_only=offline, trust_remote_code=False
            ).model_type
            model_class, aligner = FAMILIES.get(kind, ("", ClipAligner))
            if model_class:
                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    name, local_files_only=offline, trust_remote_code=False
                )
                model, report = getattr(transformers, model_class).from_pretrained(
                    name, local_files_only=offline, output_loading_info=True
                )
    except Exception as error:  # transformers, the hub's client and the network raise of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        if kind == "siglip" and (lacking := [one for one in ("sentencepiece", "google.protobuf") if not there(one)]):
            raise WeightsError(
                f"the tokenizer of {name} needs {' and '.join(one.removeprefix('google.') for one in lacking)}; "
                "install with `pip install 'tubelet[siglip]'`"
            ) from None
        if local:
            raise WeightsError(f"{name} holds no CLIP or SigLIP that transformers can load: {reason}") from None
        raise WeightsError(
            f"the weights of {name!r} are neither in the local cache nor to be fetched ({reason}); "
            f"offline, give a local folder that holds them: {option} PATH"
        ) from None
    if not model_class:
        raise WeightsError(f"{name} is a {kind!r} model; an aligner is one of: {', '.join(FAMILIES)}")
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    if wrong := [key for key in wrong if not str(key).endswith("position_ids")]:
        raise WeightsError(
            f"{name} is no complete {model_class}; tensors missing or unknown: {', '.join(map(str, wrong[:4]))}"
        )
    return aligner(model, tokenizer, reading, scorer, device)


def there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def reachable() -> bool:
    """Whether the hub answers at all. Its client would try for a minute and a half before it says no."""
    import urllib.error
    import urllib.request

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def quiet_transformers(transformers: Any) -> Iterator[None]:
    """Without the library's own bars and warnings: what goes wrong is said once, by us."""
    import logging as python_logging

    library = transformers.utils.logging
    level, hub = library.get_verbosity(), python_logging.getLogger("huggingface_hub")
    before = hub.level
    library.set_verbosity_error()
    library.disable_progress_bar()
    hub.setLevel(python_logging.ERROR)
    try:
        yield
    finally:
        library.set_verbosity(level)
        library.enable_progress_bar()
        hub.setLevel(before)
