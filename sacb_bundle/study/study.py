"""Plan, start and finish the registration of many pairs: a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ..errors import InputError
from ..files import check_results, make_folder, write_json
from ..results.record import FORMAT, read_record
from .cases import Cases
from .fingerprint import input_hashes
from .part import Part
from .plan import Planner
from .records import OWN_FILES, STUDY, check_study
from .report import write_report

Pairs = Sequence[Mapping[str, str]]


class Study:
    """Pairs whose results share one folder, with tables and a report.

    No file is written before `begin`.

    Args:
        pairs: pairs, see `sacb_bundle.data.PairFiles`.
        cases: case folders.
        planner: planner that estimates time and disk space.
        resume: whether to keep cases that are complete, with the same inputs and settings.
    """

    def __init__(self, pairs: Pairs, cases: Cases, planner: Planner, resume: bool) -> None:
        self.pairs = pairs
        self.cases = cases
        self.finish, self.fail, self.release = cases.finish, cases.fail, cases.release
        self.planner = planner
        self.resume = resume
        self.part = Part.of_environment()
        self.own = pairs[self.part.rank :: self.part.size]

    def plan(self) -> Pairs:
        """Print the pairs that this process must register, and the plan for them. No file is written.

        Returns:
            The pairs to register.

        Raises:
            InputError: if results cannot be written, or would overwrite files that are not from a study.
        """
        self.check()
        return self._to_do()

    def check(self) -> None:
        """Check that results can be written.

        Raises:
            InputError: if they cannot, or would overwrite files that are not from a study.
        """
        folder = self.cases.output_dir
        for pair in self.pairs:
            if pair["id"] in OWN_FILES:
                raise InputError(f"The id {pair['id']!r} is reserved for a file of the study; choose another.")
        check_results([folder / name for name in OWN_FILES], [])
        exists = any((folder / name).exists() for name in OWN_FILES)
        earlier = {pair["id"] for pair in check_study(folder)["cases"]} if exists else set()
        self.cases.check(self.own, others=self.pairs, earlier=earlier)

    def _to_do(self) -> Pairs:
        """Print and return the pairs that this process must register, and print the plan for them."""
        folder = self.cases.output_dir
        if self.part.size > 1:
            print(f"part {self.part.rank + 1} of {self.part.size}: {len(self.own)} of {len(self.pairs)} pairs")
        todo = self._not_complete(self.own) if self.resume else self.own
        if not self.resume and (there := sum(bool(read_record(folder / pair["id"])) for pair in self.own)):
            print(f"{there} of {len(self.own)} cases are registered again; --resume would keep complete cases.")
        if self.part.leads:
            print(self.planner.plan(todo), flush=True)
        return todo

    def _not_complete(self, pairs: Pairs) -> Pairs:
        """Return the pairs to register (again), and print each with the reason.

        Args:
            pairs: pairs to check, see `sacb_bundle.data.PairFiles`.
        """
        reasons = {pair["id"]: self.cases.reason_to_do(pair, input_hashes) for pair in pairs}
        todo = [pair for pair in pairs if reasons[pair["id"]]]
        print(f"{len(pairs) - len(todo)} of {len(pairs)} cases are complete and kept.")
        for pair in todo:
            print(f"to do: {pair['id']} ({reasons[pair['id']]})", flush=True)
        return todo

    def begin(self) -> list[str]:
        """Lock this process's part of the study, and print the plan.

        Returns:
            The ids of the pairs to register.

        Raises:
            InputError: as in `plan`, or if another process is writing there.
        """
        self.check()
        make_folder(self.cases.output_dir)
        self.cases.lock = self.part.take(self.cases.output_dir)
        self.cases.part = self.part.name
        todo = {pair["id"] for pair in self._to_do()}
        self.cases.tidy([pair for pair in self.own if pair["id"] not in todo])
        if self.part.leads:
            content = {"format": FORMAT, "cases": list(self.pairs)}
            write_json(content, self.cases.output_dir / STUDY)
        return sorted(todo)

    def summarise(self) -> dict[str, float]:
        """Wait for all processes, then write the tables and the report in one of them.

        Returns:
            Nothing to log: an empty dictionary.
        """
        self.part.wait_for_others()
        if self.part.leads:
            write_report(self.cases.output_dir)
        self.part.wait_for_others()
        return {}

    def stop(self) -> None:
        """Write the tables and the report of the finished cases, if possible."""
        if self.part.leads:
            with suppress(InputError):
                write_report(self.cases.output_dir)

    def end(self, failed: Mapping[str, str], number: int) -> None:
        """Check that no case failed.

        Args:
            failed: reason each case failed, by its id.
            number: number of all cases of this run.

        Raises:
            InputError: if a case failed.
        """
        if failed:
            case, error = next(iter(failed.items()))
            raise InputError(f"{len(failed)} of {number} cases failed; the first, {case}: {error}")
