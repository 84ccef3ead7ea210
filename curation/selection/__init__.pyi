from .config import SampleConfig as SampleConfig
from .select import SELECT_VERSION as SELECT_VERSION, select_frames as select_frames
