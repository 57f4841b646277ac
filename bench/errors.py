"""What a user can mend: these errors are told in a sentence, all others are defects of the bench."""

from bench.capacity.criteria import CriterionError
from bench.rig.problem import RigError
from bench.sensors.dataset import DatasetError
from bench.sensors.s0 import S0Error
from bench.trial import TrialError
from bench.uno.build import BuildError
from bench.uno.image import ImageError
from ledger.store import StoreError

USER_ERRORS = (
    BuildError,
    CriterionError,
    DatasetError,
    ImageError,
    RigError,
    S0Error,
    StoreError,
    TrialError,
)
