"""The ``rmft-verl`` command: one tree of parsers. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rmft_verl.eval.command import add_eval
from rmft_verl.eval.compare.command import add_compare
from rmft_verl.eval.rescore import add_rescore
from rmft_verl.labs.tiny.players import habit_players
from rmft_verl.main import main as train
from rmft_verl.main import told
from rmft_verl.main.envs import add_envs
from rmft_verl.types import RunError

MODEL = "model"
"""The form of ``export`` that is no file of dialogues."""

BARRED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT)
"""Errors of a place that cannot be written, or a file that cannot be read: the user's to mend, so one line says it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: that of ``main.told``; 1 = a run of ``compare`` or a player of ``eval`` failed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["train"]:
        return train(given[1:])
    options = _parser().parse_args(given)
    return told("rmft-verl", partial(_call, options))


def _call(options: argparse.Namespace) -> int | None:
    try:
        status: int | None = options.call(options)
        return status
    except OSError as error:
        if error.errno not in BARRED or not error.filename:
            raise
        raise RunError(f"{error.filename}: {error.strerror}; name another place") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rmft-verl", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="recipe=NAME key=value ...: the same as python -m rmft_verl.main")
    add_eval(commands)
    add_compare(commands, habit_players)
    add_rescore(commands)

    recipes = commands.add_parser("recipes", help="list the recipes and what each is for")
    recipes.set_defaults(call=_recipes)

    config = commands.add_parser("config", help="every key of the configuration, its default and its meaning")
    config.add_argument("beginning", nargs="*", metavar="KEY", help="only keys that begin like this, such as update")
    config.add_argument("--markdown", action="store_true", help="as a page (docs/configuration.md)")
    config.set_defaults(call=_config)

    add_envs(commands)

    doctor = commands.add_parser("doctor", help="does this machine have what a run needs: versions, plug-ins, room")
    doctor.add_argument("--env-dirs", nargs="*", default=[], metavar="DIR", help="folders with drop-in environments")
    doctor.add_argument("--root", type=Path, default=Path("runs"), help="where runs are going to be written")
    doctor.add_argument(
        "--sample",
        nargs="*",
        metavar="KEY=VALUE",
        help="start verl and vLLM too, play for 10 s, sync (recipe=mab_tiny)",
    )
    doctor.set_defaults(call=_doctor)

    _add_models(commands)

    report = commands.add_parser("report", help="make the tables and figures of a run again from its files")
    report.add_argument("directory", type=Path, metavar="RUN")
    report.set_defaults(call=_report)

    view = commands.add_parser("view", help="a page that shows a run, or two side by side: figures, table, dialogues")
    view.add_argument("directory", type=Path, metavar="RUN")
    view.add_argument("second", type=Path, metavar="RUN2", nargs="?")
    view.add_argument("--live", action="store_true", help="while RUN trains: write it anew, and reload, until the end")
    view.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/report/index.html, or beside_RUN2.html")
    view.set_defaults(call=_view)

    _add_export(commands)

    importing = commands.add_parser("import", help="dialogues that were played elsewhere, scored and selected here")
    importing.add_argument("file", type=Path, metavar="FILE", help="JSON lines (docs/hosted.md#import)")
    importing.add_argument("directory", type=Path, metavar="RUN", help="the run directory to be made of them")
    importing.add_argument("setting", nargs="*", metavar="key=value", help="recipe=NAME or env.name=NAME, selection.*")
    importing.set_defaults(call=_import)

    cancel = commands.add_parser("cancel", help="end the fine-tuning jobs that a run on a hosted model waits for")
    cancel.add_argument("directory", type=Path, metavar="RUN")
    cancel.set_defaults(call=_cancel)
    return parser


def _add_models(commands: Any) -> None:
    smollm2 = commands.add_parser(
        "smollm2", help="get SmolLM2-135M-Instruct (93 MB), for model.path=smollm2 and its softened copy smollm2-soft"
    )
    smollm2.set_defaults(call=_smollm2)

    soften = commands.add_parser(
        "soften", help="a copy of a model that is less sure: its logits divided (pretrained.md)"
    )
    soften.add_argument("model", metavar="MODEL", help="as in model.path: smollm2, a directory, a hub id")
    soften.add_argument("out", type=Path, metavar="OUT", help="the directory to be made")
    soften.add_argument("--temperature", type=float, required=True, metavar="T", help="what the logits are divided by")
    soften.set_defaults(call=_soften)


def _add_export(commands: Any) -> None:
    from rmft_verl.store.dialogues import FORMATS

    export = commands.add_parser("export", help="the trained model of a run, or the dialogues that it kept")
    export.add_argument("directory", type=Path, metavar="RUN")
    export.add_argument(
        "out", type=Path, metavar="OUT", nargs="?", help="default for dialogues: RUN/export/FORMAT.jsonl"
    )
    export.add_argument(
        "--format", choices=(MODEL, *FORMATS), default=MODEL, help="model: a Hugging Face directory; else dialogues"
    )
    export.add_argument("--iteration", type=int, nargs="*", default=[], metavar="N", help="dialogues of these only")
    export.set_defaults(call=_export)


def _recipes(options: argparse.Namespace) -> None:
    from rmft_verl.setup.recipe import recipe_lines

    print("\n".join(recipe_lines()))


def _config(options: argparse.Namespace) -> None:
    from rmft_verl.setup.keys import as_lines, as_markdown, keys

    chosen = [key for key in keys() if not options.beginning or key.name.startswith(tuple(options.beginning))]
    if not chosen:
        raise RunError(f"no key begins with {' or '.join(options.beginning)}: rmft-verl config lists all of them")
    print(as_markdown(chosen), end="") if options.markdown else print("\n".join(as_lines(chosen)))


def _smollm2(options: argparse.Namespace) -> None:
    from rmft_verl.setup import smollm2

    for name, get in ((smollm2.NAME, smollm2.get), (smollm2.SOFT, smollm2.get_soft)):
        directory = smollm2.path(name)
        print(f"{directory}: {'made' if get(directory) else 'there already'}; use model.path={name}")


def _doctor(options: argparse.Namespace) -> None:
    from rmft_verl.main.doctor import examine

    problems = examine(options.env_dirs, options.root, options.sample)
    if problems:
        raise RunError(f"doctor found {problems} problem{'s' if problems > 1 else ''}")


def _soften(options: argparse.Namespace) -> None:
    from rmft_verl.setup.models import resolve_model
    from rmft_verl.setup.soften import soften

    soften(resolve_model(options.model), options.out, options.temperature)
    print(f"{options.out}: {options.model} with its logits divided by {options.temperature:g}")


def _report(options: argparse.Namespace) -> None:
    from rmft_verl.store.stored_config import on_numbers

    if on_numbers(options.directory):
        from rmft_verl.labs.numeric.run import report_run
    else:
        from rmft_verl.train.run import report_run
    print(report_run(options.directory))


def _view(options: argparse.Namespace) -> None:
    from rmft_verl.train.view import live, view

    if options.live:
        if options.second:
            raise RunError("--live shows one run: leave RUN2 out")
        place = live(options.directory, options.out, lambda place: print(f"{place}: open it; it reloads by itself"))
        print(f"the run has finished: page written to {place}")
        return
    runs = [options.directory] + ([options.second] if options.second else [])
    print(f"page written to {view(runs, options.out)}: open it in a browser")


def _export(options: argparse.Namespace) -> None:
    if options.format != MODEL:
        _export_dialogues(options)
        return
    if options.out is None:
        raise RunError("export writes a model to OUT: rmft-verl export RUN OUT (or --format chat-jsonl: dialogues)")
    if options.iteration:
        raise RunError(
            "--iteration chooses dialogues, and --format is model: the trained model is that of the last one"
        )
    from rmft_verl.store.stored_config import refuse_hosted, refuse_numbers

    refuse_numbers(options.directory)
    refuse_hosted(options.directory)
    from rmft_verl.bridge.training.export import export_run

    print(f"model written to {export_run(options.directory, options.out)}")


def _import(options: argparse.Namespace) -> None:
    from rmft_verl.train.imported import import_dialogues

    done = import_dialogues(options.file, options.directory, options.setting)
    valid = sum(play.valid for play in done.played)
    print(
        f"{done.path}: {len(done.played):,} dialogues, {valid:,} valid, {len(done.kept):,} kept; read them with "
        f"rmft-verl view, rescore or export {done.path}"
    )


def _cancel(options: argparse.Namespace) -> None:
    from rmft_verl.setup.hosted import is_hosted
    from rmft_verl.setup.recipe import reload_config
    from rmft_verl.store.run_dir import RunDir

    run = RunDir.open(options.directory)
    config = reload_config(run.config, [])
    if not is_hosted(config):
        raise RunError(f"{run.path} trains {config.model.path} here: stop its process, there is no job to cancel")
    from rmft_verl.bridge.hosted.backend import cancel_jobs

    print("\n".join(cancel_jobs(config, run.path)) or f"{run.path} waits for no job")


def _export_dialogues(options: argparse.Namespace) -> None:
    from rmft_verl.store.dialogues import export_kept

    done = export_kept(options.directory, options.format, options.out, options.iteration)
    print(
        f"{done.path}: {done.lines:,} lines with {done.replies:,} trained replies, of the {done.kept:,} trajectories "
        f"that iterations {', '.join(map(str, done.iterations))} kept\nsha256 {done.sha256}"
    )


if __name__ == "__main__":
    sys.exit(main())
