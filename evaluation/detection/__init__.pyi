from .fcos import Detections as Detections, Detector as Detector, Target as Target
from .found import FoundBox as FoundBox, found_boxes as found_boxes, open_detector as open_detector
from .intervals import detection_scores as detection_scores
from .maps import maps_wanted as maps_wanted, pixel_maps as pixel_maps
from .metrics import (
    Frame as Frame,
    average_precision as average_precision,
    best_threshold as best_threshold,
    match_frames as match_frames,
    operating_points as operating_points,
)
from .reference import reference_box_rows as reference_box_rows
from .rows import detection_rows as detection_rows, detection_value as detection_value, detection_value_again as detection_value_again
from .tables import box_item as box_item
from .training import FittedDetector as FittedDetector
