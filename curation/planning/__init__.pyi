from .archive import Archive as Archive, archive_of as archive_of, probe_archive as probe_archive
from .cost import ENCODER_BYTES as ENCODER_BYTES, PROCESS_BYTES as PROCESS_BYTES, Cost as Cost, Rate as Rate, Unit as Unit
from .estimate import Estimate as Estimate, combined as combined
from .headers import Header as Header, Headers as Headers
from .pieces import Piece as Piece
from .timing import unit_rate as unit_rate
