"""Begin and end of a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events

from ..files import whole_file
from .cases import Cases
from .fingerprint import input_hashes
from .part import Part
from .plan import Plan
from .records import STUDY
from .report import write_report


class Study:
    """Pairs whose cases lie in one folder, with what is said of them all together.

    Args:
        pairs: see `sacb_bundle.data.PairList`.
        cases: where the results go.
        plan: printed when the study begins.
        trained_on: see `sacb_bundle.study.flags_of`.
    """

    def __init__(
        self, pairs: Sequence[Mapping[str, str]], cases: Cases, plan: Plan, trained_on: Mapping[str, Any] | None
    ) -> None:
        self.pairs = pairs
        self.cases = cases
        self.plan = plan
        self.trained_on = trained_on
        self.part = Part.of_environment()

    def begin(self, resume: bool) -> list[Mapping[str, str]]:
        """Print the plan, and take this process's part of the study.

        Args:
            resume: whether cases stay that are complete, of the same inputs and settings.

        Returns:
            the pairs to register.

        Raises:
            InputError: if results cannot be written, or another process is writing them.
        """
        self.cases.checked(self.pairs)
        self.lock = self.part.take(self.cases.output_dir)
        self.cases.part = self.part.name
        if self.part.leads:
            print(self.plan, flush=True)
            content = {"cases": [pair["id"] for pair in self.pairs], "trained_on": self.trained_on}
            with whole_file(self.cases.output_dir / STUDY) as unfinished:
                unfinished.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        own = self.pairs[self.part.rank :: self.part.size]
        if not resume:
            return list(own)
        reasons = {pair["id"]: self.cases.reason_to_do(pair, input_hashes) for pair in own}
        todo = [pair for pair in own if reasons[pair["id"]]]
        print(f"{len(own) - len(todo)} of {len(own)} cases are complete and stay as they are.")
        for pair in todo:
            print(f"to do: {pair['id']} ({reasons[pair['id']]})", flush=True)
        return todo

    def attach(self, evaluator: Engine) -> None:
        """Write the tables and the report when all is done."""
        evaluator.add_event_handler(Events.COMPLETED, self.end)
        evaluator.add_event_handler(Events.EXCEPTION_RAISED, self.give_up)

    def give_up(self, evaluator: Engine, error: Exception) -> None:
        """Let another process go on."""
        self.lock.release()
        raise error

    def end(self) -> None:
        """Write cases.csv, summary.json and report.html, in one process, when all have come here."""
        self.part.wait_for_others()
        if self.part.leads:
            write_report(self.cases.output_dir)
        self.part.wait_for_others()
        self.lock.release()
