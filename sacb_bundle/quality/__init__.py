"""Quality of a registration: measure it, judge it and draw it, from images, fields and transforms."""

from .contrast import have_one_contrast
from .flags import flags_of
from .label_scores import score_label_maps, summary_of_labels
from .measures import displacement, in_view, lost_headers, round_trip, similarity
from .picture import Views, draw, draw_slices
from .trust import VERDICTS, doubts_of, evidence_of, field_helps, verdict_of

__all__ = [
    "VERDICTS",
    "Views",
    "displacement",
    "doubts_of",
    "draw",
    "draw_slices",
    "evidence_of",
    "field_helps",
    "flags_of",
    "have_one_contrast",
    "in_view",
    "lost_headers",
    "round_trip",
    "score_label_maps",
    "similarity",
    "summary_of_labels",
    "verdict_of",
]
