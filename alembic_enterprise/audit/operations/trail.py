"""Making, altering and dropping the trail of a table."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from alembic.operations import Operations
from psycopg.sql import SQL, Composable, Literal

from alembic_enterprise import registry
from alembic_enterprise.audit import capture, recording, view
from alembic_enterprise.audit.model import Trail
from alembic_enterprise.audit.operations import baseline, blocks
from alembic_enterprise.operation import RESTORE_LOCK_TIMEOUT, Operation
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.sql import NOW, REFUSED, Name, do_block


@dataclass
class _AuditTrail(Operation):
    """The arguments that making, altering and dropping a trail share."""

    table: str
    history: str
    history_schema: str = "audit"
    exclude: list[str] | None = None
    mask: list[str] | None = None
    hash: list[str] | None = None
    require_actor: bool = False
    retain: int | None = None
    owner: str | None = None
    readers: list[str] | None = None
    schema: str | None = None

    def __post_init__(self) -> None:
        """Raise `DeclarationError` when an argument cannot be used."""
        trail = self.trail
        for name in ("exclude", "mask", "hash", "readers"):
            setattr(self, name, list(getattr(trail, name)) or None)

    @property
    def name(self) -> Name:
        """The audited table."""
        return Name(self.schema, self.table)

    @property
    def history_name(self) -> Name:
        """Its history table."""
        return Name(self.history_schema, self.history)

    @property
    def trail(self) -> Trail:
        """What is kept. Raises `DeclarationError` for a bad value."""
        names = ("exclude", "mask", "hash", "readers")
        lists = {name: getattr(self, name) or () for name in names}
        return Trail(
            require_actor=self.require_actor, retain=self.retain, owner=self.owner, **lists
        )

    @classmethod
    def of(cls, name: Name, history: Name, trail: Trail, **more: Any) -> Self:
        """The operation that concerns the trail of a table."""
        return cls(
            table=name.name,
            schema=name.schema,
            history=history.name,
            history_schema=history.schema or "audit",
            **{**vars(trail), **more},
        )

    def _values(self) -> dict[str, Composable]:
        return {
            "table": self.name.regclass,
            "history": Literal(self.history_name.text),
            "comment": Literal(capture.HISTORY_COMMENT),
            "kept_comment": Literal(capture.KEPT_COMMENT),
            "trigger_comment": Literal(capture.TRIGGER_COMMENT),
            "untold_comment": Literal(capture.UNTOLD_COMMENT),
            "ownership": Literal(registry.OWNERSHIP),
            "refused": Literal(REFUSED),
        }


# The moment may be pretended, but the functions go by the clock: they need partitions from now on.
_MONTH = SQL("least({}, now()) AT TIME ZONE 'UTC'").format(NOW)


@dataclass
class _Capture(_AuditTrail):
    """What making and altering share: both make the trail what it should be."""

    def _capture(
        self,
        copied: str,
        *,
        without: Sequence[str] = (),
        renamed: dict[str, str] | None = None,
    ) -> Iterator[Composable]:
        """Statements that make the trail, and copy rows: "all", "none", or of "gaps" in it."""
        values = self._values() | {
            "place": Literal(self.history_schema),
            "sequence": capture.sequence(SQL("history")),
            "trail": _json(self.trail.to_json()),
            "without": _json([*without]),
            "renamed": _json(renamed or {}),
            "copied": Literal(copied),
        }
        made = {"own_columns": Literal(capture.OWN_COLUMNS), "room": Literal(capture.ROOM)}
        yield do_block(blocks.MAKE_HISTORY, **made, **values)
        policy = capture.policy(self.trail)
        partitions = CreateRangePartitions(
            self.history,
            policy.every,
            "0001-01-01",  # the block gets the day on which it runs instead
            ahead=policy.ahead,
            schema=self.history_schema,
        )
        yield partitions.block(_MONTH)
        yield from registry.put(self.history_name, policy.to_json())
        expected = blocks.expected(self.trail, self.history_schema)
        yield do_block(blocks.CAPTURE, **values, **expected)
        yield view.refresh(self.history_schema)
        if copied != "none":
            yield do_block(baseline.BASELINE, **values, **baseline.VALUES)


def _json(value: Any) -> Composable:
    return Literal(json.dumps(value, ensure_ascii=False))


@dataclass
class CreateAuditTrail(_Capture):
    """Keep each change of a table's rows in a history table from now on."""

    operation_name: ClassVar[str] = "create_audit_trail"

    baseline: bool = True

    kept: bool = field(default=False, compare=False, repr=False)
    """Whether it carries on the history of an earlier trail, which the reverse operation leaves."""

    @classmethod
    def create_audit_trail(
        cls,
        operations: Operations,
        table: str,
        *,
        history: str,
        history_schema: str = "audit",
        exclude: list[str] | None = None,
        mask: list[str] | None = None,
        hash: list[str] | None = None,  # noqa: A002  # the word of the declaration
        require_actor: bool = False,
        retain: int | None = None,
        owner: str | None = None,
        readers: list[str] | None = None,
        schema: str | None = None,
        baseline: bool = True,
    ) -> None:
        """Keep each change of a table's rows in a history table from now on.

        Makes the history with its partitions and their policy, the functions that fill it, and
        their triggers on the table and each of its partitions; what is there already stays. A
        history that an earlier trail left is carried on.

        Args:
            table: the table, which needs a primary key.
            history: name of the history table.
            history_schema: its schema, which is made when it is missing.
            exclude: columns that are not kept.
            mask: columns kept as `***`.
            hash: columns kept as the sha256 of their text.
            require_actor: refuse changes made without an actor.
            retain: how many whole past months of history the scheduled job keeps; None keeps all.
            owner: the role that shall own the history and its functions; None for who migrates.
            readers: roles that may read the history.
            schema: schema of the table.
            baseline: also copy the rows that are there. Writers are not stopped meanwhile: what
                the script did before, and the triggers, are committed first. A table that is made
                in the same script needs none.
        """
        operations.invoke(
            cls(
                table,
                history,
                history_schema,
                exclude=exclude,
                mask=mask,
                hash=hash,
                require_actor=require_actor,
                retain=retain,
                owner=owner,
                readers=readers,
                schema=schema,
                baseline=baseline,
            )
        )

    @property
    def in_transaction(self) -> bool:
        """False with a baseline."""
        return not self.baseline

    def statements(self) -> Sequence[Composable]:
        """Blocks that make the trail, and one that copies the rows that are there."""
        made = list(self._capture("all" if self.baseline else "none"))
        # They wait for writers as any statement does; only CREATE INDEX and its like must not stop.
        return [RESTORE_LOCK_TIMEOUT, *made] if self.baseline else made

    def reverse(self) -> "DropAuditTrail":
        """Drop it with its history, unless that holds changes or is older."""
        return self.turned_into(DropAuditTrail, drop_history=not self.kept)


@dataclass
class AlterAuditTrail(_Capture):
    """Make the trail of a table what it should be."""

    operation_name: ClassVar[str] = "alter_audit_trail"

    without: list[str] | None = None
    renamed: dict[str, str] | None = None
    concurrently: bool = False

    previous: Trail | None = field(default=None, compare=False, repr=False)
    """The trail that this one replaces, for the reverse operation."""

    added: list[str] | None = field(default=None, compare=False, repr=False)
    """Columns that the same script adds, which the reverse one drops."""

    @classmethod
    def alter_audit_trail(
        cls,
        operations: Operations,
        table: str,
        *,
        history: str,
        history_schema: str = "audit",
        exclude: list[str] | None = None,
        mask: list[str] | None = None,
        hash: list[str] | None = None,  # noqa: A002  # the word of the declaration
        require_actor: bool = False,
        retain: int | None = None,
        owner: str | None = None,
        readers: list[str] | None = None,
        schema: str | None = None,
        without: list[str] | None = None,
        renamed: dict[str, str] | None = None,
        concurrently: bool = False,
    ) -> None:
        """Make the trail of a table what it should be, whatever it is now.

        The history gets the columns it lacks and the types of the table's, of a changed one without
        its length or precision. So it never loses a column, nor a part of a value: a type that
        cannot hold what was kept is refused. Functions, triggers, rights and policy are replaced
        where they differ. Its own columns that are missing come back, and NOT NULL goes from the
        others; triggers, rules, constraints and row security that somebody put on it stay.

        Where changes went past the trail, because a trigger was missing, off or another one, or a
        partition was attached with rows, the history of that table or partition ends with `detach`,
        and goes on with the rows that are there now.

        For a column of another type the history is read, unless no value can become another one
        (varchar to text), and rewritten where PostgreSQL would rewrite the table. For another
        primary key it gets an index. Writers of the table wait meanwhile, with `concurrently`, too.

        Args:
            table: as for `create_audit_trail`; so are the arguments not named here.
            without: columns that this script drops next: the trail must know nothing of them.
            renamed: columns that this script has renamed, old names to new ones. Refused are a new
                name that the table has not, an old one that the history has not, and a pair of
                which the history has both.
            concurrently: copy such rows while others write: what the script did before, and the
                triggers, are committed first. Otherwise writers of the table wait for its end.
        """
        operations.invoke(
            cls(
                table,
                history,
                history_schema,
                exclude=exclude,
                mask=mask,
                hash=hash,
                require_actor=require_actor,
                retain=retain,
                owner=owner,
                readers=readers,
                schema=schema,
                without=without,
                renamed=renamed,
                concurrently=concurrently,
            )
        )

    @property
    def in_transaction(self) -> bool:
        """False for the concurrent form."""
        return not self.concurrently

    def statements(self) -> Sequence[Composable]:
        """The blocks that make a trail, and one that copies rows that it lacks."""
        made = list(self._capture("gaps", without=self.without or (), renamed=self.renamed))
        return [RESTORE_LOCK_TIMEOUT, *made] if self.concurrently else made

    def reverse(self) -> "AlterAuditTrail":
        """Make it again what it was."""
        return AlterAuditTrail.of(
            self.name,
            self.history_name,
            self.previous or self.trail,
            without=self.added,
            renamed={new: old for old, new in (self.renamed or {}).items()} or None,
            previous=self.trail,
            added=self.without,
        )


@dataclass
class DropAuditTrail(_AuditTrail):
    """Keep changes of a table no longer."""

    operation_name: ClassVar[str] = "drop_audit_trail"

    drop_history: bool = False
    drop_rows: bool = False

    baseline: bool = field(default=True, compare=False, repr=False)
    """Whether the reverse operation copies the rows that are there then."""

    @classmethod
    def drop_audit_trail(
        cls,
        operations: Operations,
        table: str,
        *,
        history: str,
        history_schema: str = "audit",
        exclude: list[str] | None = None,
        mask: list[str] | None = None,
        hash: list[str] | None = None,  # noqa: A002  # the word of the declaration
        require_actor: bool = False,
        retain: int | None = None,
        owner: str | None = None,
        readers: list[str] | None = None,
        schema: str | None = None,
        drop_history: bool = False,
        drop_rows: bool = False,
    ) -> None:
        """Drop the triggers and functions of a trail; its history stays by default.

        Args:
            table: as for `create_audit_trail`; so are the arguments not named here, which only the
                reverse operation needs.
            drop_history: drop the history as well. When it holds changes, they are counted, and
                the migration stops with the number.
            drop_rows: drop it also then.
        """
        operations.invoke(
            cls(
                table,
                history,
                history_schema,
                exclude=exclude,
                mask=mask,
                hash=hash,
                require_actor=require_actor,
                retain=retain,
                owner=owner,
                readers=readers,
                schema=schema,
                drop_history=drop_history,
                drop_rows=drop_rows,
            )
        )

    def statements(self) -> Sequence[Composable]:
        """One block that drops what captures, and statements that drop its history and policy."""
        drop = do_block(
            blocks.DROP,
            drop_history=Literal(self.drop_history),
            drop_rows=Literal(self.drop_rows),
            record_body=recording.body(SQL("history")),
            all_settings=Literal([capture.SEARCH_PATH, *capture.TEXT_SETTINGS]),
            **self._values(),
        )
        statements: list[Composable] = [drop, view.refresh(self.history_schema)]
        if self.drop_history:
            statements += registry.remove(self.history_name)
            statements.append(SQL("DROP TABLE IF EXISTS {}").format(self.history_name.sql))
        return statements

    def reverse(self) -> CreateAuditTrail:
        """Make it again; a history that was kept is carried on."""
        return self.turned_into(CreateAuditTrail, kept=not self.drop_history)
