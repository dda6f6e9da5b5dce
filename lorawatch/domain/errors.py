"""The exception tree. Permanent or transient is the class, decided where the foreign error is mapped.

    LorawatchError
    ├── ConfigurationError          exit 78; all problems at once
    ├── AlreadyRunningError         exit 4
    ├── JournalError                the state directory cannot be used
    ├── SourceError                 one source file
    │   ├── FileRejectedError       permanent until the file changes
    │   ├── FileUnreadableError     environmental (permission, I/O error): looked at again
    │   ├── FileChangedError        it is another version now: the new one is planned instead
    │   └── FileVanishedError       it is gone
    ├── DestinationError
    │   ├── DestinationDownError    environmental: nothing can be delivered there now; waits (see [retry])
    │   │   └── DestinationParkedError   refused us (401, 403): waits for reload, retry or restart
    │   ├── DeliveryDelayedError    transient: this delivery alone waits and is tried again
    │   ├── NameTakenError          something that is not ours stands at the name
    │   └── DeliveryRefusedError    permanent: needs a person
    ├── ComfyUIError                ComfyUI's own API: it answered, but not with what was asked for
    │   └── ComfyUIDownError        environmental: it does not answer now; asked again later
    ├── WorkflowError               no graph can be made of a file, or ComfyUI does not compute it: needs a person
    └── StoppedError                the daemon is stopping; the work goes on after the next start

Every error carries `code` (kebab-case, never changes), a message that says what was tried on what and what
came back, and, where there is one, `fix`: what to do next. No message ever holds a secret or a body.
"""


class LorawatchError(Exception):
    """Root of all errors that lorawatch raises on purpose."""

    code = "internal-error"

    def __init__(self, message: str, *, code: str | None = None, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        if code is not None:
            self.code = code


class ConfigurationError(LorawatchError):
    """The configuration cannot be used. `problems` holds (dotted path, what is wrong, what to write)."""

    code = "configuration-invalid"

    def __init__(self, problems: list[tuple[str, str, str]], *, file: str | None = None) -> None:
        where = file or "the configuration"
        lines = [f"  {path}: {wrong}{f'. {fix}' if fix else ''}" for path, wrong, fix in problems]
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        super().__init__(f"{where} has {count}:\n" + "\n".join(lines))
        self.problems = problems
        self.file = file


class NoConfigurationError(ConfigurationError):
    """There is no configuration at all."""

    def __init__(self, wrong: str, fix: str) -> None:
        super().__init__([("--config", wrong, fix)])
        self.message, self.fix = wrong, fix


class AlreadyRunningError(LorawatchError):
    """Another daemon holds the lock of this state directory."""

    code = "already-running"


class JournalError(LorawatchError):
    """The journal cannot be opened, is newer than this program, or may not be read."""

    code = "journal-unusable"


class SourceError(LorawatchError):
    """Something about one source file."""


class FileRejectedError(SourceError):
    """The file as it is now will never be delivered."""

    code = "rejected"


class FileUnreadableError(SourceError):
    """The file cannot be read now; the cause lies outside of it."""

    code = "file-unreadable"


class FileChangedError(SourceError):
    """The file is another version than the one that was asked for."""

    code = "source-changed"


class FileVanishedError(SourceError):
    """The file is gone."""

    code = "source-vanished"


class DestinationError(LorawatchError):
    """Something about a destination."""


class DestinationDownError(DestinationError):
    """Nothing can be delivered there now."""

    code = "destination-down"

    def __init__(
        self, message: str, *, code: str | None = None, fix: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, code=code, fix=fix)
        self.retry_after_seconds = retry_after_seconds


class DestinationParkedError(DestinationDownError):
    """It refuses us; trying again by ourselves would only hammer it."""

    code = "not-authorized"


class DeliveryDelayedError(DestinationError):
    """This delivery failed in a way that passes."""

    code = "delivery-delayed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fix: str = "",
        retry_after_seconds: float | None = None,
        is_strained: bool = False,
    ) -> None:
        super().__init__(message, code=code, fix=fix)
        self.retry_after_seconds = retry_after_seconds
        self.is_strained = is_strained  # the destination is: the next delivery would fare no better


class NameTakenError(DestinationError):
    """Something that lorawatch did not put there stands at the name."""

    code = "name-taken"


class DeliveryRefusedError(DestinationError):
    """This delivery cannot succeed as it is."""

    code = "delivery-refused"


class ComfyUIError(LorawatchError):
    """ComfyUI answered, but with an error, or with something that its API does not give."""

    code = "comfyui-error"


class ComfyUIDownError(ComfyUIError):
    """ComfyUI does not answer now."""

    code = "comfyui-unreachable"


class WorkflowError(LorawatchError):
    """There is no graph for what was asked, or ComfyUI refused it, or failed to compute it."""

    code = "no-workflow"


class StoppedError(LorawatchError):
    """The work was interrupted because the daemon stops."""

    code = "stopped"
