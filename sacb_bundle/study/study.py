"""Begin and end of a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ignite.engine import Engine, Events

from ..errors import InputError
from ..files import check_results, make_folder, whole_file
from .cases import Cases, read_record
from .fingerprint import input_hashes
from .part import Part
from .plan import Planner
from .records import OWN_FILES, STUDY, read_study
from .report import write_report

Pairs = Sequence[Mapping[str, str]]


class Study:
    """Pairs whose cases lie in one folder, with what is said of them all together.

    Args:
        pairs: see `sacb_bundle.data.Pair`.
        cases: where the results go.
        planner: of what is to be done.
        trained_on: see `sacb_bundle.study.flags_of`.
        resume: whether cases stay that are complete, of the same inputs and settings.
    """

    def __init__(
        self, pairs: Pairs, cases: Cases, planner: Planner, trained_on: Mapping[str, Any] | None, resume: bool
    ) -> None:
        self.pairs = pairs
        self.cases = cases
        self.planner = planner
        self.trained_on = trained_on
        self.resume = resume
        self.part = Part.of_environment()
        self.own = pairs[self.part.rank :: self.part.size]

    def plan(self) -> Pairs:
        """Print what is to be done by this process, and what it will take. Nothing is written.

        Returns:
            the pairs to register.

        Raises:
            InputError: if results cannot be written, or would overwrite what is not of a study.
        """
        self.check()
        return self.to_do()

    def check(self) -> None:
        """Check that results can be written.

        Raises:
            InputError: if not, or if they would overwrite what is not of a study.
        """
        folder = self.cases.output_dir
        for pair in self.pairs:
            if pair["id"] in OWN_FILES:
                raise InputError(f"The id {pair['id']!r} is the name of a file of every study; choose another.")
        check_results([folder / name for name in OWN_FILES], [])
        if any((folder / name).exists() for name in OWN_FILES):
            read_study(folder)
        self.cases.checked(self.own, others=self.pairs)

    def to_do(self) -> Pairs:
        """Print what is to be done by this process, and what it will take."""
        folder = self.cases.output_dir
        if self.part.size > 1:
            print(f"part {self.part.rank + 1} of {self.part.size}: {len(self.own)} of {len(self.pairs)} pairs")
        todo = self.not_complete(self.own) if self.resume else self.own
        if not self.resume and (there := sum(bool(read_record(folder / pair["id"])) for pair in self.own)):
            print(
                f"{there} of {len(self.own)} cases were done before and are done again; --resume keeps complete ones."
            )
        if self.part.leads:
            print(self.planner.plan(todo), flush=True)
        return todo

    def not_complete(self, pairs: Pairs) -> Pairs:
        """The pairs that are to be done (again), each printed with the reason."""
        reasons = {pair["id"]: self.cases.reason_to_do(pair, input_hashes) for pair in pairs}
        todo = [pair for pair in pairs if reasons[pair["id"]]]
        print(f"{len(pairs) - len(todo)} of {len(pairs)} cases are complete and stay as they are.")
        for pair in todo:
            print(f"to do: {pair['id']} ({reasons[pair['id']]})", flush=True)
        return todo

    def begin(self) -> Pairs:
        """Take this process's part of the study.

        Returns:
            the pairs to register, see `plan`.

        Raises:
            InputError: see `plan`; or if another process is writing there.
        """
        self.check()
        make_folder(self.cases.output_dir)
        self.cases.lock = self.part.take(self.cases.output_dir)
        self.cases.part = self.part.name
        todo = self.to_do()
        again = {pair["id"] for pair in todo}
        self.cases.tidy([pair for pair in self.own if pair["id"] not in again])
        if self.part.leads:
            content = {"cases": list(self.pairs), "trained_on": self.trained_on}
            with whole_file(self.cases.output_dir / STUDY) as unfinished:
                unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return todo

    def attach(self, evaluator: Engine) -> None:
        """Write the tables and the report when all is done, or what is done when the study is stopped."""
        evaluator.add_event_handler(Events.COMPLETED, self.end)
        evaluator.add_event_handler(Events.EXCEPTION_RAISED, self.stop)

    def stop(self, evaluator: Engine, reason: BaseException) -> None:
        """Write the tables and the report of what is there, if they can be written, and let the study end."""
        if self.part.leads:
            with suppress(InputError):
                write_report(self.cases.output_dir)
        raise reason

    def end(self) -> None:
        """Write the tables and the report, in one process, when all have come here."""
        self.part.wait_for_others()
        if self.part.leads:
            write_report(self.cases.output_dir)
        self.part.wait_for_others()
