"""What a user can mend: these errors are told in a sentence, all others are defects of the bench."""

from bench.calibration.document import CalibrationError
from bench.instruments.rack import RackError
from bench.pi.emulated.image_host import PiImageError
from bench.pi.ledger_process import LedgerFailureError
from bench.pi.ssh import CommandError
from bench.rig.criteria import CriterionError
from bench.rig.infrastructure import InfrastructureError
from bench.rig.problem import RigError
from bench.sensors.dataset import DatasetError
from bench.sensors.s0 import S0Error
from bench.sensors.stimulus_schedule import ScheduleError
from bench.sensors.waveform import MainsError
from bench.trial import TrialError
from bench.uno.build import BuildError
from bench.uno.emulated import BoardError
from bench.uno.image import ImageError
from bench.uno.provisioning import ProvisioningError
from ledger.gateway.sx1278 import RadioSettingError
from ledger.service.table import ConfigError
from ledger.store import StoreError
from reports.model import ReportError

USER_ERRORS = (
    BoardError,
    BuildError,
    CalibrationError,
    CommandError,
    ConfigError,
    CriterionError,
    DatasetError,
    ImageError,
    InfrastructureError,
    LedgerFailureError,
    MainsError,
    PiImageError,
    RackError,
    ProvisioningError,
    RadioSettingError,
    ReportError,
    RigError,
    S0Error,
    ScheduleError,
    StoreError,
    TrialError,
)
