"""Values that events hold by digest: what no row can have is not found, and stops nobody."""

from typing import Any, cast

import pytest
from sqlalchemy import Connection

from aiinfra_core.audit_log.delivering import values

BY_DIGEST = {"sha256": "0" * 64, "size": 1}


class _Empty:
    def execute(self, *_: Any) -> list[Any]:
        return []


@pytest.mark.parametrize("key", [{}, {"id": None}, {"id": "no id"}, {"id": {"a": 1}}])
def test_a_value_of_a_row_whose_key_is_none_is_not_found(key: dict[str, Any]) -> None:
    named = values.named_in({"rows": {"model_artifacts": key | {"metadata": BY_DIGEST}}})
    assert len(named) == 1
    assert values.read(cast("Connection", _Empty()), named) == {}
