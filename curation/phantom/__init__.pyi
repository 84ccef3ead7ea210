from .archive import write_archive as write_archive
from .config import PhantomConfig as PhantomConfig
from .eval import phantom_eval_patient as phantom_eval_patient, write_eval_index as write_eval_index
from .motion import phantom_motion_patient as phantom_motion_patient, write_motion_index as write_motion_index
from .phantom import eval_patients as eval_patients, phantom_video as phantom_video, train_patients as train_patients
