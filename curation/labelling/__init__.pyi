from .chosen import (
    ChosenFrame as ChosenFrame,
    LabelledFrame as LabelledFrame,
    write_chosen as write_chosen,
    write_labelled as write_labelled,
)
from .class_names import UNUSABLE as UNUSABLE, check_classes as check_classes
from .contact_sheet import ContactSheet as ContactSheet, render_contact_sheet as render_contact_sheet
from .cvat import write_cvat as write_cvat
from .given import GivenLabels as GivenLabels, read_given as read_given
from .label_studio import write_label_studio as write_label_studio
