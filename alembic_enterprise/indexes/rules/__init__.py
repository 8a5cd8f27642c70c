"""What is remarked on: one rule a file, each a pure function of the catalog.

The name of the function is the id of the rule, and its docstring what `alembic-enterprise explain`
prints.
"""

from collections.abc import Callable, Iterator, Mapping

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog
from alembic_enterprise.indexes.rules.brin_suited_time_key import brin_suited_time_key
from alembic_enterprise.indexes.rules.expression_index_without_statistics import (
    expression_index_without_statistics,
)
from alembic_enterprise.indexes.rules.foreign_key_type_mismatch import foreign_key_type_mismatch
from alembic_enterprise.indexes.rules.foreign_key_without_index import foreign_key_without_index
from alembic_enterprise.indexes.rules.invalid_index import invalid_index
from alembic_enterprise.indexes.rules.invalid_partitioned_index import invalid_partitioned_index
from alembic_enterprise.indexes.rules.key_near_exhaustion import key_near_exhaustion
from alembic_enterprise.indexes.rules.leaf_only_index import leaf_only_index
from alembic_enterprise.indexes.rules.low_cardinality_index import low_cardinality_index
from alembic_enterprise.indexes.rules.missing_primary_key import missing_primary_key
from alembic_enterprise.indexes.rules.partial_index_suited import partial_index_suited
from alembic_enterprise.indexes.rules.partition_key_without_index import (
    partition_key_without_index,
)
from alembic_enterprise.indexes.rules.redundant_index import redundant_index
from alembic_enterprise.indexes.rules.unused_index import unused_index

Rule = Callable[[Catalog], Iterator[Finding]]

RULES: Mapping[str, Rule] = {
    rule.__name__.replace("_", "-"): rule
    for rule in (
        key_near_exhaustion,
        invalid_index,
        invalid_partitioned_index,
        foreign_key_without_index,
        foreign_key_type_mismatch,
        missing_primary_key,
        partition_key_without_index,
        leaf_only_index,
        redundant_index,
        unused_index,
        low_cardinality_index,
        partial_index_suited,
        brin_suited_time_key,
        expression_index_without_statistics,
    )
}
"""Every rule by its id. When two would have the same done, the one that stands first says it."""
