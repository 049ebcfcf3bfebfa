"""Find the start of an alignment: the best rotation, shift and scale of the moving image, over all rotations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from .alignment_judge import Judge
from .body import body_of, foreground
from .grid import Grid
from .mutual_information import MutualInformation
from .resampling import averaged
from .volume import Volume

# Voxels along the side of a body, and points of each image: to try all rotations, and to improve the best ones.
COARSE_VOXELS, COARSE_POINTS = 24, 2000
FINE_VOXELS, FINE_POINTS = 64, 8000
MARGIN_VOXELS = 2
# Rotations about the axes and diagonals of a cube, between those that map axes onto axes.
FINER_TURN_DEGREES = 35.0
NUM_REFINED, NUM_JUDGED = 8, 3
# Starts closer than this count as the same; the share is that of the size of the moving body.
LEAST_APART_DEGREES, LEAST_APART_SHARE = 20.0, 0.15
# Shifts of the centres to try along each axis, as shares of the size of the moving body; numbers of starts of
# different places that are refined, and that are fitted.
SHIFT_SHARES = (-0.75, -0.5, -0.25, 0.25, 0.5, 0.75)
NUM_MOVED, NUM_PLACES = 4, 2
FIRST_STEP_DEGREES, LEAST_STEP_DEGREES = 16.0, 2.0
FIRST_STEP_SHARE = 1 / 12
FIRST_STEP_FACTOR = 1.1
MOST_ROUNDS = 14
# A start that scores so much better than all turns before they are refined is the right one.
CLEAR_ADVANTAGE = 1.7
# Starts that score less than this share of that in the orientation of the headers are left out.
LEAST_SHARE = 0.8
# If refining it turned it by more than this, the orientation in the headers is not the right one.
LARGEST_TURN_DEGREES = 40.0
# A turn counts only if it scores so much better than the orientation in the headers.
LEAST_ADVANTAGE = 1.5
# A start that depends on the rotation in the headers is kept only if it scores so much better than one that does not.
CLEARLY_BETTER = 1.1
# Ratio of the sizes of two bodies that is natural variation, and the largest change of scale of a start.
SAME_SIZE = (0.75, 1.33)
LARGEST_FACTOR = 1.25


@dataclass(frozen=True, eq=False)
class Start:
    """A similarity transform from the fixed to the moving image: a rotation about a centre, a scale and a shift.

    Attributes:
        turn: rotation matrix (3, 3).
        ratio: ratio of the sizes of the bodies, or 1.
        factor: change of scale on top of it.
        centre: centre of the rotation in the fixed image, in mm, RAS.
        target: point of the moving image that the centre is mapped to, in mm, RAS.
    """

    turn: np.ndarray
    ratio: float
    centre: np.ndarray
    target: np.ndarray
    factor: float = 1.0

    @property
    def matrix(self) -> np.ndarray:
        """The 4x4 matrix from fixed to moving world coordinates, in mm, RAS."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.ratio * self.factor * self.turn
        matrix[:3, 3] = self.target - matrix[:3, :3] @ self.centre
        return matrix

    def moved(self, motion: np.ndarray) -> Start:
        """Return the start for the moving image at another position in the world.

        Args:
            motion: 4x4 matrix of the rotation and shift that move it there.

        Returns:
            The start.
        """
        return replace(self, turn=motion[:3, :3] @ self.turn, target=motion[:3, :3] @ self.target + motion[:3, 3])


class BothWays:
    """Mutual information at the points of both images, averaged, so that all of both bodies counts.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        sizes: sizes of the two bodies in mm.
        num_voxels: voxels along the side of a body, to which the images are averaged.
        num_points: largest number of points of each image.
    """

    def __init__(self, fixed: Volume, moving: Volume, sizes: Sequence[float], num_voxels: int, num_points: int) -> None:
        images = [averaged(image, size / num_voxels) for image, size in zip((fixed, moving), sizes, strict=True)]
        shown = [binary_dilation(foreground(image).values, iterations=MARGIN_VOXELS) for image in images]
        self.forward = MutualInformation(images[0], images[1], shown[0], num_points)
        self.backward = MutualInformation(images[1], images[0], shown[1], num_points)

    def __call__(self, matrices: Sequence[np.ndarray]) -> np.ndarray:
        """Score transforms.

        Args:
            matrices: N 4x4 matrices from fixed to moving world coordinates, in mm, RAS.

        Returns:
            The score of each, (N,).
        """
        return (self.forward(matrices) + self.backward([np.linalg.inv(matrix) for matrix in matrices])) / 2


class StartSearch:
    """Search for the rotation, shift and scale at which two images have the most mutual information.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        scales: whether the images may differ in size.
    """

    def __init__(self, fixed: Volume, moving: Volume, scales: bool) -> None:
        self.images = fixed, moving
        self.bodies = body_of(fixed), body_of(moving)
        self.scales = scales
        self.sizes = [body.size for body in self.bodies]

    @cached_property
    def coarse_score(self) -> BothWays:
        """Score for trying all rotations."""
        return BothWays(*self.images, self.sizes, COARSE_VOXELS, COARSE_POINTS)

    @cached_property
    def fine_score(self) -> BothWays:
        """Score for improving the best starts."""
        return BothWays(*self.images, self.sizes, FINE_VOXELS, FINE_POINTS)

    @cached_property
    def judge(self) -> Judge:
        """Score for choosing between the best starts."""
        return Judge(*self.images, self.sizes)

    def finalists(self) -> list[Start]:
        """List the starts among which the right one probably is.

        The orientation in the headers is refined first. If it is clearly better than 360 rotations that cover all
        orientations, it is the only one; otherwise the best of these are refined, too.

        Returns:
            Starts of different orientations: first the one in the orientation of the headers, then the others from the
            best.
        """
        score, in_headers = self.refined(self.centred([np.eye(3)], in_place=True), 1)[0]
        turned = self.centred(_all_turns())
        scores = self._coarse_scores(turned)
        others = [not _close(start.turn, np.eye(3)) for start in turned]
        near = _close(in_headers.turn, np.eye(3), LARGEST_TURN_DEGREES)
        if near and score >= CLEAR_ADVANTAGE * scores[others].max():
            return [in_headers]
        least = LEAST_SHARE * score if near else 0.0
        found = [start for own, start in self.refined(turned, NUM_REFINED, scores) if own >= least]
        return _apart([in_headers, *found], 1 + NUM_JUDGED)

    def best(self) -> Start:
        """Find the best start.

        Returns:
            The finalist of the best score at a finer resolution: that in the orientation of the headers, unless another
            one is clearly better.
        """
        finalists = self.finalists()
        if len(finalists) > 1:
            finalists = [start for _, start in self._improved(finalists, self.fine_score)]
        return finalists[self.chosen([start.matrix for start in finalists])]

    def chosen(self, matrices: Sequence[np.ndarray]) -> int:
        """Choose between the orientation of the headers and others, see `Judge`.

        Args:
            matrices: 4x4 matrices from fixed to moving world coordinates, that of the headers first.

        Returns:
            The index of the best one if it is clearly better than the first, otherwise 0.
        """
        if len(matrices) == 1:
            return 0
        scores = [self.judge(matrix) for matrix in matrices]
        best = int(np.argmax(scores))
        return best if scores[best] > LEAST_ADVANTAGE * scores[0] else 0

    def best_of(self, matrices: Sequence[np.ndarray]) -> int:
        """Return the index of the matrix that matches the images best, see `Judge`.

        Args:
            matrices: 4x4 matrices from fixed to moving world coordinates.

        Returns:
            The index.
        """
        return 0 if len(matrices) == 1 else int(np.argmax([self.judge(matrix) for matrix in matrices]))

    def upright(self, start: Start) -> np.ndarray:
        """Return the rotation of the moving image that a start undoes, up to a smaller one.

        It is the nearest of the 360 rotations of the search, between the axes of the voxels, so the same voxels come to
        lie in the same position whatever the rotation in their header.

        Args:
            start: start.

        Returns:
            A 4x4 matrix that rotates the moving image about the origin.
        """
        fixed, moving = (_directions(image.grid) for image in self.images)
        turns = np.stack(_all_turns()) @ np.diag([1.0, 1.0, np.sign(np.linalg.det(moving @ fixed))])
        nearest = turns[int(np.tensordot(turns, moving.T @ start.turn @ fixed, 2).argmax())]
        rotation = np.eye(4)
        rotation[:3, :3] = (moving @ nearest @ fixed.T).T
        return rotation

    def settled(self, start: Start) -> list[Start]:
        """Find the starts near one in the orientation of the headers that do not depend on the start itself.

        Where the images show different parts of a body, its centres do not match, and several places may fit.

        Args:
            start: start near them.

        Returns:
            The best refined starts of different places, best first; the given one comes before them if it is clearly
            better.
        """
        central = self.centred([np.eye(3)])
        shifts = [share * self.bodies[1].size * axis for axis in np.eye(3) for share in SHIFT_SHARES]
        shifted = [replace(start, target=start.target + shift) for start in central for shift in shifts]
        starts = [*central, *shifted]
        order = np.argsort(-self._coarse_scores(starts), kind="stable")
        improved = self._improved(self._in_places([starts[index] for index in order], NUM_MOVED), self.coarse_score)
        improved.sort(key=lambda item: -item[0])
        best, _ = improved[0]
        own = [start] if self._coarse_scores([start])[0] > CLEARLY_BETTER * best else []
        good = [found for score, found in improved if score >= LEAST_SHARE * best]
        return self._in_places([*own, *good], NUM_PLACES)

    def best_shift(self) -> Start:
        """Find the better of the two starts that only shift: by the centres of mass, or by the middles of the bodies.

        Returns:
            The start, not refined.
        """
        shifts = [start for start in self.centred([np.eye(3)]) if start.ratio == 1]
        return shifts[int(self._coarse_scores(shifts).argmax())]

    def centred(self, turns: Sequence[np.ndarray], in_place: bool = False) -> list[Start]:
        """List the starts of orientations.

        Args:
            turns: rotation matrices (3, 3).
            in_place: whether to add the starts that rotate the image about its position in the world.

        Returns:
            A start for each orientation, scale and shift.
        """
        fixed, moving = self.bodies
        ratio = moving.size / fixed.size
        ratios = [1.0] if not self.scales or SAME_SIZE[0] <= ratio <= SAME_SIZE[1] else [1.0, ratio]
        shifts = [(fixed.mass, moving.mass), (fixed.middle, moving.middle)]
        shifts += [(fixed.mass, fixed.mass)] if in_place else []
        return [Start(turn, ratio, *shift) for turn in turns for ratio in ratios for shift in shifts]

    def refined(
        self, starts: Sequence[Start], number: int, scores: np.ndarray | None = None
    ) -> list[tuple[float, Start]]:
        """Refine the best starts, step by step.

        Args:
            starts: starts.
            number: number of starts to refine, of those that are not close to each other.
            scores: scores of the starts, if they are known.

        Returns:
            The scores and refined starts, best first.
        """
        scores = self._coarse_scores(starts) if scores is None else scores
        ranked = [starts[index] for index in np.argsort(-scores, kind="stable")]
        return sorted(self._improved(_apart(ranked, number), self.coarse_score), key=lambda item: -item[0])

    def _in_places(self, starts: Sequence[Start], number: int) -> list[Start]:
        """Return the first starts that place the fixed body elsewhere than those before, or have another scale."""
        chosen: list[tuple[Start, np.ndarray]] = []
        least = LEAST_APART_SHARE * self.bodies[1].size
        for start in starts:
            place = start.matrix[:3, :3] @ self.bodies[0].middle + start.matrix[:3, 3]
            if all(np.linalg.norm(place - other) > least or start.ratio != near.ratio for near, other in chosen):
                chosen.append((start, place))
            if len(chosen) == number:
                break
        return [start for start, _ in chosen]

    def _coarse_scores(self, starts: Sequence[Start]) -> np.ndarray:
        """Score starts (N,) at the coarse resolution."""
        return self.coarse_score([start.matrix for start in starts])

    def _improved(self, starts: list[Start], score: BothWays) -> list[tuple[float, Start]]:
        """Improve starts by steps in each parameter, which become smaller when none helps."""
        scores = score([start.matrix for start in starts]).tolist()
        steps = [1.0] * len(starts)
        for _ in range(MOST_ROUNDS):
            active = [i for i, step in enumerate(steps) if step * FIRST_STEP_DEGREES >= LEAST_STEP_DEGREES]
            if not active:
                break
            near = [self._neighbours(starts[i], steps[i]) for i in active]
            found = score([start.matrix for group in near for start in group])
            for i, group, group_scores in zip(active, near, np.split(found, len(active)), strict=True):
                best = int(group_scores.argmax())
                if group_scores[best] > scores[i]:
                    scores[i], starts[i] = float(group_scores[best]), group[best]
                else:
                    steps[i] /= 2
        return list(zip(scores, starts, strict=True))

    def _neighbours(self, start: Start, step: float) -> list[Start]:
        """Return a start with each parameter changed by a step, in both directions."""
        near = []
        shift = step * FIRST_STEP_SHARE * self.bodies[1].size
        for axis, sign in itertools.product(np.eye(3), (1, -1)):
            turn = Rotation.from_rotvec(sign * step * FIRST_STEP_DEGREES * axis, degrees=True).as_matrix()
            near.append(replace(start, turn=start.turn @ turn))
            near.append(replace(start, target=start.target + sign * shift * axis))
        if self.scales:
            for change in (step, -step):
                factor = start.factor * FIRST_STEP_FACTOR**change
                near.append(replace(start, factor=float(np.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR))))
        return near


def _all_turns() -> list[np.ndarray]:
    """Return 360 rotation matrices: those that map axes onto axes, each with 15 finer rotations; the identity first."""
    axis_turns = sorted(Rotation.create_group("O").as_matrix(), key=lambda turn: -round(np.trace(turn)))
    corners = [np.array(signs) / 3**0.5 for signs in itertools.product((1, -1), repeat=3)]
    directions = [*np.eye(3), *-np.eye(3), *corners]
    finer = [Rotation.from_rotvec(FINER_TURN_DEGREES * axis, degrees=True).as_matrix() for axis in directions]
    return [fine @ turn for fine in (np.eye(3), *finer) for turn in axis_turns]


def _directions(grid: Grid) -> np.ndarray:
    """Return the rotation matrix, or rotation and reflection, whose columns are nearest to the axes of a grid."""
    left, _, right = np.linalg.svd(grid.affine[:3, :3] / np.array(grid.spacing))
    return left @ right


def _apart(starts: Sequence[Start], number: int | None = None) -> list[Start]:
    """Return the first starts whose orientations are not close to those before."""
    chosen: list[Start] = []
    for start in starts:
        if not any(_close(start.turn, other.turn) for other in chosen):
            chosen.append(start)
        if len(chosen) == number:
            break
    return chosen


def _close(first: np.ndarray, second: np.ndarray, degrees: float = LEAST_APART_DEGREES) -> bool:
    """Return whether two orientations are the same except for a rotation of so many degrees."""
    return float((np.trace(first.T @ second) - 1) / 2) > np.cos(np.radians(degrees))
