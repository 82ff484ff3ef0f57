"""The command line: `tubelet VERB ...`. Each verb is a module of `tubelet.cli`, imported only when it is used."""

import argparse
import contextlib
import difflib
import errno
import importlib
import keyword
import os
import select
import sys
import time
import traceback
from types import ModuleType
from typing import NoReturn

from tubelet.errors import OtherRankError, TubeletError, UsageError
from tubelet.escape import one_line
from tubelet.interrupt import preemptible
from tubelet.launchers import first_alone, launched
from tubelet.terminal import open_closed_streams, shown_streams, visible_stream
from tubelet.threads import computing
from tubelet.trust import trusting_code

VERBS = {
    "demo": "the whole pipeline on the synthetic dataset, in minutes on two cores",
    "synth": "render the synthetic dataset: captioned action clips with known subject and motion",
    "index": "make a corpus of your videos: a table with a row for every file, also those that fail",
    "caption": "write a caption for every video: by a vision-language model, from a file, or from its label",
    "captions": "summarize the captions: coverage, lengths, faults, words, samples next to their frames",
    "curate": "find black, frozen, blurred and duplicate videos and shots, and leave them out",
    "align": "train a small image-text aligner on the corpus's own frames and captions",
    "pack": "pack a corpus into a few large tar files with a table of offsets, for fast and remote reading",
    "saliency": "compute saliency maps once per corpus: text, motion, flow, attention, your own",
    "track": "compute tracks once per corpus: sound, sensors, vectors, your own",
    "maps": "measure how well saliency maps find what captions name",
    "masks": "measure what every masker hides on a corpus, and draw it",
    "import": "make a run folder of VideoMAE weights: official files, transformers, mmaction2, the hub",
    "pretrain": "pretrain an encoder by a recipe, with any field overridden as key=value",
    "finetune": "fine-tune a pretrained encoder to labels, all of them or a share",
    "phases": "train in phases: a sequence of these commands, each with the run of an earlier one",
    "evaluate": "measure an encoder on a corpus: probes, kNN, few labels, retrieval, reconstruction",
    "predict": "write predicted labels of videos to a table, by a fine-tuned or linear classifier",
    "search": "find the clips nearest to a text or to a clip: a list and a contact sheet",
    "study": "run a declared grid of trainings, and say what it shows over seeds",
    "embed": "write the features of videos to a table",
    "export": "write a run for other software: transformers, ONNX, torch.export, safetensors",
    "push": "upload the encoder of a run, or a corpus, to the Hugging Face hub, with a card",
    "compare": "runs beside each other: means, spread over seeds, paired differences",
    "report": "one self-contained page from run folders",
    "inspect": "look at a corpus or at runs in the browser: videos, maps, masks, neighbours",
}


MOMENT = 2.0  # seconds in which the first rank tells what all know: a launcher ends all ranks as soon as one has ended
TOGETHER = ("pretrain", "finetune", "phases", "evaluate")  # what several processes do as one; all else the first alone


READ_ONLY = ("captions", "compare", "report")  # commands that compute with no torch


# Commands that rebuild the model of a run folder, which may name code.
OPEN_RUNS = (
    "pretrain",
    "finetune",
    "phases",
    "evaluate",
    "predict",
    "search",
    "study",
    "embed",
    "export",
    "push",
    "masks",
    "inspect",
)


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line that name the nearest option."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            word = message.split(": ", 1)[1].split()[0]
            unknown = word.split("=")[0]
            options = [option for action in self._actions for option in action.option_strings]
            message = f"unknown option {unknown}"
            if near := difflib.get_close_matches(unknown, options, n=1, cutoff=0.75):
                message += f", did you mean {near[0]}?"
            elif any("key=value" in str(action.metavar) for action in self._actions):
                message += f"; a field is written without dashes, as in {unknown.lstrip('-')}=VALUE"
        raise UsageError(f"{message} (see `{self.prog} --help`)")


FREE = "make room, and the same command resumes from what is done"
ALLOW = "give a folder that may be written, or change its rights"
DISK = {  # what a disk or its owner refuses, and what to do about it
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FREE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ALLOW),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns 0, or 2 after one line on stderr that says what to do (1 where some of what was asked
    for is done); 75 where a scheduler has stopped it, 130 after Ctrl-C, 141 where nobody reads its output any more."""
    with shown_streams():
        return answered(sys.argv[1:] if argv is None else argv)


def answered(argv: list[str]) -> int:
    """The exit code; what goes wrong is said in a line."""
    try:
        code = run(argv)
        sys.stdout.flush()
        return code
    except OtherRankError as error:
        return error.code
    except UsageError as error:
        if is_later_rank():
            time.sleep(MOMENT)
        else:
            print(f"tubelet: {one_line(str(error))}", file=sys.stderr)
        return error.code
    except TubeletError as error:
        print(f"tubelet: {one_line(str(error))}", file=sys.stderr)
        return error.code
    except RecursionError:
        nested = "nests values deeper than any command writes them; restore it, or make it again"
        print(f"tubelet: a file of what is named in `tubelet {one_line(' '.join(argv[:2]))}` {nested}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not unread():
            raise
        return 141
    except OSError as error:
        if (remedy := DISK.get(error.errno or 0)) is None:
            raise
        at = f"{one_line(os.fsdecode(error.filename))}: " if error.filename else ""
        print(f"tubelet: {at}{os.strerror(error.errno or 0).lower()}; {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tubelet: interrupted; the same command resumes from what is done", file=sys.stderr)
        return 130


def is_later_rank() -> bool:
    """Whether another process was started with the same command line, and tells what is wrong with it."""
    try:
        return launched().rank > 0
    except TubeletError:
        return False


def entry() -> NoReturn:
    """What the shell calls: `main`, then the end of the process. A fault of ours is printed whole, its text written
    out as any other is. Where an error left a group of ranks open, the end is at once: an orderly one would wait for
    ranks that may never answer."""
    open_closed_streams()
    try:
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        traceback.print_exception(error, file=visible_stream(sys.stderr))
        code = 1
    torch = sys.modules.get("torch")
    if code and torch is not None and torch.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def unread() -> bool:
    """Whether the reader of our output is gone, as `head` is when it has seen enough; the rest then goes nowhere."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"tubelet {version('tubelet')}")
        return 0
    verb, rest = argv[0], argv[1:]
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the folder that this command was started in has been deleted; cd to another") from None
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of: {', '.join(VERBS)}"
        raise UsageError(f"unknown command {verb!r}; {hint}")
    module = module_of(verb)
    parser = Parser(
        prog=f"tubelet {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    if verb not in READ_ONLY:
        parser.add_argument("--threads", type=int, metavar="N", help="number of CPU threads (default: one per core)")
    if verb in OPEN_RUNS:
        parser.add_argument(
            "--trust-code", action="store_true", help="allow executing the Python file that the run names"
        )
    if {"-h", "--help"} & set(rest) and hasattr(module, "help_on"):  # a verb whose help depends on its words
        print(module.help_on([word for word in rest if word not in ("-h", "--help")], parser))
        return 0
    args = parser.parse_intermixed_args(rest)
    args.command = ["tubelet", *argv]
    together = verb in TOGETHER and not getattr(args, "dry_run", False)
    part = getattr(args, "part", None)  # of a job: then each process does its own
    if not together and not part and not first_alone(verb):
        return 0
    stoppable = preemptible(verb) if verb in TOGETHER else contextlib.nullcontext()
    trusting = trusting_code(getattr(args, "trust_code", False))
    with computing(getattr(args, "threads", None)):  # before anything that loads torch
        of_stores(args)
        if verb not in ("curate", "index"):
            say_left_out(rest)
        with limits(args), trusting, stoppable:
            module.run(args)
    return 0


def of_stores(args: argparse.Namespace) -> None:
    """A run in a store is read from a copy of it; what is written is written on this machine."""
    from tubelet.remote.address import is_remote

    for name, value in vars(args).items():
        if name == "out" and isinstance(value, str) and is_remote(value):
            raise UsageError(f"--{name} {value} is in a store; give a folder of this machine, and copy it there later")
    if isinstance(run := getattr(args, "run", None), str) and is_remote(run):
        from tubelet.runs.folder import run_folder

        args.run = str(run_folder(run))


def say_left_out(words: list[str]) -> None:
    """A line for every corpus on the command line of which rows are left out."""
    corpora = [word for word in dict.fromkeys(words) if os.path.isfile(os.path.join(word, "corpus.json"))]
    if not corpora or is_later_rank():
        return
    from tubelet.corpus.table import Corpus

    for word in corpora:
        with contextlib.suppress(TubeletError):  # the command says it
            if count := Corpus.open(word).count_left_out():
                print(f"{one_line(word)}: {count} videos are left out (`tubelet curate`, column keep)", file=sys.stderr)


def limits(args: argparse.Namespace) -> contextlib.AbstractContextManager[object]:
    """What a file may take, in a command that has the options for it."""
    if not hasattr(args, "limit"):
        return contextlib.nullcontext()
    from tubelet.cli.options import limits_of
    from tubelet.video.limits import limited

    return limited(limits_of(args))


def module_of(verb: str) -> ModuleType:
    """The module of a verb; one that is a word of Python itself has an underscore after its name."""
    return importlib.import_module(f"tubelet.cli.{verb}" + "_" * keyword.iskeyword(verb))


def overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "tubelet: pretrain video encoders by hiding what the caption names",
            "",
            "usage: tubelet COMMAND ...   (tubelet COMMAND --help)",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    entry()
