from .audit_sheet import (
    AUDIT_VERSION as AUDIT_VERSION,
    AuditSheet as AuditSheet,
    SheetPicture as SheetPicture,
    render_sheet as render_sheet,
    sheet_page as sheet_page,
    upper_bound as upper_bound,
)
from .burned_text import TextTracker as TextTracker, search_text as search_text
from .config import AuditConfig as AuditConfig, OutOfBodyConfig as OutOfBodyConfig
from .insets import find_insets as find_insets
from .out_of_body import (
    color_profile as color_profile,
    out_of_body_scores as out_of_body_scores,
    pixelated as pixelated,
    privacy_reasons as privacy_reasons,
    smooth_scores as smooth_scores,
)
from .out_of_body_classifier import (
    HEAD_VERSION as HEAD_VERSION,
    Head as Head,
    LabelledImages as LabelledImages,
    fit_head as fit_head,
    frames_outside as frames_outside,
    read_labels as read_labels,
    score_part as score_part,
)
from .sudden_strokes import stroke_blocks as stroke_blocks, sudden_parts as sudden_parts
from .text_boxes import Box as Box, blacked_out as blacked_out, cropped_away as cropped_away
from .text_detector import (
    TextCheckFailed as TextCheckFailed,
    load_text_detector as load_text_detector,
    text_detector_path as text_detector_path,
)
from .text_evidence import Search as Search
from .text_masks import TextMask as TextMask, lasting_text as lasting_text, masks_by_sample as masks_by_sample
from .text_reader import load_text_reader as load_text_reader
