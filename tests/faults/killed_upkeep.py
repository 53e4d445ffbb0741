"""Import from the replaced service and prune, in a forked child that is killed as `killed_at` says; started by test_killed_upkeep."""

from aiinfra_core import pruning
from aiinfra_core.domain.tombstone import RetentionRule
from aiinfra_core.importing import copying
from aiinfra_core.importing.go_service import service_at
from aiinfra_core.settings import Settings
from tests.faults import killed_at

RULE = RetentionRule(older_than_days=0, keep_last=1)


def story(settings: Settings) -> None:
    """Copy what the service has that `old-service` in the home names, then prune all but the newest version."""
    url = (settings.home / "old-service").read_text()
    copying.copy(settings, service_at(url, None), imported_by="ida")
    pruning.finish(settings)
    for _ in pruning.prune(settings, RULE, pruning.plan(settings, RULE), pruned_by="olga", reason=None):
        pass


if __name__ == "__main__":
    killed_at.main(story)
