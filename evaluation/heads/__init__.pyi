from .backbone_change import BackboneChange as BackboneChange, changed as changed
from .decoders import DptDecoder as DptDecoder, FpnDecoder as FpnDecoder
from .head import (
    FittedClasses as FittedClasses,
    FittedMasks as FittedMasks,
    Frozen as Frozen,
    Head as Head,
    HeadSettings as HeadSettings,
    Labelled as Labelled,
    Maps as Maps,
    MapsWanted as MapsWanted,
    MaskLabelled as MaskLabelled,
    Pictures as Pictures,
    SelectionSplit as SelectionSplit,
    Storable as Storable,
    Trunk as Trunk,
    VectorSets as VectorSets,
)
from .knn import choose_k as choose_k, knn_predict as knn_predict
from .linear import LinearProbe as LinearProbe, fit_linear_probe as fit_linear_probe
from .linear_grid import fit_linear_grid as fit_linear_grid
from .mask_training import BATCH as BATCH, joined as joined, read_maps as read_maps
from .names import (
    HeadError as HeadError,
    changes_backbone as changes_backbone,
    check_curve_windows as check_curve_windows,
    check_head_names as check_head_names,
    check_peft as check_peft,
    chosen_heads as chosen_heads,
)
from .ordinal import fit_ordinal as fit_ordinal
from .registry import (
    CLASS_HEADS as CLASS_HEADS,
    MASK_HEADS as MASK_HEADS,
    TUNED_CLASS_HEADS as TUNED_CLASS_HEADS,
    TUNED_MASK_HEADS as TUNED_MASK_HEADS,
    maps_wanted as maps_wanted,
)
from .segment import SegmentationHead as SegmentationHead, fit_segmentation_head as fit_segmentation_head
from .stored import load_head as load_head, read_settings as read_settings, read_tensors as read_tensors, save_head as save_head
from .tuned import TunedClasses as TunedClasses, TunedMasks as TunedMasks
