from .cost import ENCODER_BYTES as ENCODER_BYTES, PROCESS_BYTES as PROCESS_BYTES, Cost as Cost, Rate as Rate, Unit as Unit
from .timing import unit_rate as unit_rate
