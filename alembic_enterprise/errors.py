"""Every error a caller may catch.

    EnterpriseError
    ├── DeclarationError        a model declares something PostgreSQL cannot do
    ├── MismatchError           models and database differ in a way no migration can mend
    ├── OperationError          an operation or a query cannot be run as it is written
    ├── PlacementError          where a key belongs cannot be computed
    ├── ActorError              who acts cannot be recorded in the database
    ├── LockedError             a lock could not be had in the time allowed
    ├── StepError               a step of a run failed
    ├── ConfigurationError      env.py, alembic.ini or the command line lack something
    └── ServerError             a program or server of PostgreSQL is missing or fails

Each message ends in the next step: what to write, run or set.
"""


class EnterpriseError(Exception):
    """Base of every error this package raises on purpose."""


class DeclarationError(EnterpriseError):
    """A model declares something PostgreSQL cannot do; the message shows the model to write."""


class MismatchError(EnterpriseError):
    """Models and database differ in a way that no migration script can mend."""


class OperationError(EnterpriseError):
    """An operation or a query cannot be run as it is written.

    Its arguments, env.py or rows in the table are in its way.
    """


class PlacementError(EnterpriseError):
    """The partition of a key cannot be computed from its values."""


class ActorError(EnterpriseError):
    """Who acts cannot be recorded in the database, or not on this connection."""


class LockedError(EnterpriseError):
    """A lock could not be had in the time and number of attempts allowed."""


class StepError(EnterpriseError):
    """A step of a run failed: of maintenance, growth, a rehearsal or `apply`.

    The server's error, if there is one, is its cause.
    """


class ConfigurationError(EnterpriseError):
    """env.py, alembic.ini or the command line lack something; the message says what."""


class ServerError(EnterpriseError):
    """A program or a server of PostgreSQL that this needs is missing or fails."""
