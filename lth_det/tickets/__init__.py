"""What a ticket is: mask, rewind weights, provenance, their file, and the sums over them. Pure torch."""

from lth_det.tickets.apply import apply_mask_ as apply_mask_
from lth_det.tickets.apply import count_revived as count_revived
from lth_det.tickets.mask import Mask as Mask
from lth_det.tickets.mask import MaskOverlap as MaskOverlap
from lth_det.tickets.rewinding import capture_weights as capture_weights
from lth_det.tickets.rewinding import rewind_ as rewind_
from lth_det.tickets.scope import GROUPS as GROUPS
from lth_det.tickets.scope import ParameterEntry as ParameterEntry
from lth_det.tickets.scope import ParameterTable as ParameterTable
from lth_det.tickets.scope import parameter_table as parameter_table
from lth_det.tickets.serialization import load_ticket as load_ticket
from lth_det.tickets.serialization import read_manifest as read_manifest
from lth_det.tickets.serialization import save_ticket as save_ticket
from lth_det.tickets.serialization import ticket_sha256 as ticket_sha256
from lth_det.tickets.similarity import MaskSimilarity as MaskSimilarity
from lth_det.tickets.similarity import mask_similarity as mask_similarity
from lth_det.tickets.summary import SparsitySummary as SparsitySummary
from lth_det.tickets.summary import sparsity_summary as sparsity_summary
from lth_det.tickets.summary import sparsity_table as sparsity_table
from lth_det.tickets.ticket import Provenance as Provenance
from lth_det.tickets.ticket import Ticket as Ticket
