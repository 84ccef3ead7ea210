from .config import SampleConfig as SampleConfig
from .label_choice import LabelChoice as LabelChoice, choose_for_labels as choose_for_labels
from .select import SELECT_VERSION as SELECT_VERSION, select_frames as select_frames
