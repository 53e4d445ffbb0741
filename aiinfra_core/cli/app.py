"""Every command with its help text, and `main`: where errors become one line and an exit code.

What a command does is in the module named beside it, imported when it is typed.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from cyclopts import App, CycloptsError, UnknownCommandError, UnknownOptionError

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.exit_codes import ExitCode, of_error
from aiinfra_core.errors import AiInfraError, Unauthenticated

_HOW_TO_PROVE = "Say who asks with AI_INFRA_TOKEN, or AI_INFRA_DEBUG_TOKEN in development."


@dataclass(frozen=True)
class Command:
    """A command: where its function is, what it does, and how it is typed."""

    place: str
    does: str
    examples: tuple[str, ...] = ()


COMMANDS = {
    "init": Command(
        "servers:init",
        """Make what this machine needs: the home folder, the embedded PostgreSQL, a development key. Safe to repeat.

        Parts that are configured (AI_INFRA_DATABASE_URL, AI_INFRA_SIGNER_KEY_B64, ...) are used and not made. With --production, make a
        folder for a production installation instead: a key for each purpose, a trust root, an environment file to fill in.""",
        (
            "aiinfra init",
            r"""aiinfra init --production --out production --log models.example/audit --signer 'audit=vault:audit?public-key=BASE64' \
      --root-key file:alice.key --root-key BASE64_OF_BOB --threshold 2""",
        ),
    ),
    "status": Command(
        "status:status",
        "Show what is configured, what runs and what is current where; starts nothing.",
        ("aiinfra status", "aiinfra status --json"),
    ),
    "train": Command(
        "training:train",
        """Train a model from a commit, datasets named by digest, hyperparameters and a seed.

        The same training is done once: typed again, the recorded outcome is printed. A work tree must be clean.""",
        (
            r"""aiinfra train --model rain --code . --entry-point train.py \
      --container-digest sha256:HEX --param depth=3 --seed 7""",
            r"""aiinfra train --model rain --code . --entry-point train.py \
      --container-digest sha256:HEX --dataset days=data/days.csv""",
            "aiinfra train --spec training.json --json",
        ),
    ),
    "jobs": Command("jobs:jobs", "Look at training jobs."),
    "register": Command(
        "registering:register",
        """Register what a training job made, or bytes made elsewhere, as the next version of a model.

        The bytes are read, hashed and signed for; registering the same bytes again gives the same version.""",
        (
            "aiinfra register 6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11",
            "aiinfra register --model rain ./model.json",
            "aiinfra register --model rain --uri s3://models/rain.json --checksum HEX",
        ),
    ),
    "evaluate": Command(
        "evaluating:evaluate",
        """Measure a version with a script, run like a training, and keep, signed, what it measured; a promotion is judged on it.

        The same script on the same data is run once for a version. With --against, what is current there is measured by it too. Without a
        script, what the version's own training measured is kept.""",
        (
            "aiinfra evaluate rain:1",
            "aiinfra evaluate rain:2 --code . --entry-point evaluate.py --dataset days=held_out.parquet --against prod",
            "aiinfra evaluate rain --spec evaluation.json --json",
        ),
    ),
    "reproduce": Command(
        "reproducing:reproduce",
        """Run a version's training again from its recorded provenance, compare what comes out file by file, and sign the outcome.

        Exit code 0: identical, or within the tolerances; 3: other bytes came out; 7: nothing came out. Likely causes are named.""",
        (
            "aiinfra reproduce rain:1",
            "aiinfra reproduce rain@staging --tolerance quality=0.01 --tolerance log_loss=0.02",
            "aiinfra reproduce rain:1 --directory /var/tmp/again --json",
        ),
    ),
    "promote": Command(
        "promoting:promote",
        """Make a registered artifact current in an environment, if the gate says yes; a yes and a no are both recorded.

        Without --metric it is judged on its newest measured evaluation.""",
        ("aiinfra promote rain --to staging", "aiinfra promote rain:1 --to prod --metric quality=0.9"),
    ),
    "rollback": Command(
        "rolling_back:rollback",
        """Go back to the version that was current before, in one step; it is verified first, signed and recorded like every promotion.

        Where a rollout is open it is ended, and the champion has all traffic again.""",
        (
            "aiinfra rollback rain --env prod --reason 'it answers with the rain of yesterday'",
            "aiinfra rollback rain --env prod --to 2 --reason 'version 3 and 4 lost the coast'",
        ),
    ),
    "pending": Command("approving:pending", "List the promotions that wait for people.", ("aiinfra pending",)),
    "approve": Command(
        "approving:approve",
        """Agree to a promotion that waits for you: to exactly the manifest you looked at.

        Without --manifest it is shown, and nothing is signed. With --key you sign yourself; without it the service vouches for whom it
        knows. Whoever asked for a promotion cannot approve it; the approval that was missing carries it on.""",
        (
            "aiinfra approve 445498d7-250f-4640-b898-f7dddebc4f86",
            "aiinfra approve 445498d7-250f-4640-b898-f7dddebc4f86 --manifest DIGEST --server https://registry.example",
            "aiinfra approve 445498d7-250f-4640-b898-f7dddebc4f86 --manifest DIGEST --key file:me.key",
        ),
    ),
    "approvals": Command("approving:approvals", "Look at who agreed to a promotion, and take an approval of yours back."),
    "rollout": Command(
        "rollouts:rollout", "Look at rollouts, plan them, and say what is to be done with one: pause, resume, advance, abort."
    ),
    "policy": Command("policies:policy", "Check and try policies, explain what they say, and simulate what another one would have said."),
    "models": Command("models:models", "Look at registered models."),
    "scan": Command(
        "scanning:scan",
        """Look into a version's files again and record, signed, whether loading it would run code; nothing is loaded to find out.

        It happens by itself at registration; do it again with a newer scanner. Exit code 3 unless it is no_code or safe.""",
        ("aiinfra scan rain:1", "aiinfra scan rain@prod --json"),
    ),
    "card": Command("cards:card", "Read and write what people say about a model or a version: description, tags, model card."),
    "bom": Command(
        "bom:bom",
        """Print a model's bill of materials (CycloneDX ML-BOM, JSON): what it was made of, how it scored, what vouches for it.

        The same records give the same bytes.""",
        ("aiinfra bom rain", "aiinfra bom rain@prod --out rain.cdx.json"),
    ),
    "verify": Command(
        "verifying:verify",
        """Check an export directory with a pinned root of trust; or what is recorded here about an artifact, or the whole history.

        A directory is verified without any settings, database or network.""",
        ("aiinfra verify rain-2026 --trust-root 1.root.json", "aiinfra verify", "aiinfra verify rain@prod"),
    ),
    "export": Command(
        "exporting:export",
        """Write everything an auditor needs about a model into one new directory, to be verified offline with a pinned root of trust.

        It appears whole or not at all, and only after it verified.""",
        ("aiinfra export rain@prod --out rain-2026", "aiinfra export rain:1 --out rain-1 --since last-checkpoint"),
    ),
    "import": Command(
        "importing:import_",
        """Copy the jobs, artifacts and promotions of the service this one replaces, signed as imported, never as trained here.

        An artifact whose bytes lie below an artifact root and have its checksum becomes a version of its model; promotions are kept as
        history and move nothing. Typed again, it goes on where it stood.""",
        (
            "aiinfra import --from-go-service https://ai-infra.example:8061 --dry-run",
            "aiinfra import --from-go-service https://ai-infra.example:8061 --strict",
        ),
    ),
    "pull": Command(
        "pulling:pull",
        """Take what is current for a model in an environment to this machine, with the signed routing that names it.

        Signatures, environment, freshness and bytes are verified first; the directory appears whole or not at all.""",
        (
            "aiinfra pull rain@prod --out rain-now",
            "aiinfra pull rain@prod --out rain-now --server https://registry.example --trust-root trust/1.root.json",
        ),
    ),
    "prune": Command(
        "pruning:prune",
        """Remove the bytes of artifacts nobody may use any more, each with a signed tombstone; what is recorded about them stays.

        What is current, what one would go back to, the newest versions and whatever is being promoted stays. Without --yes it is only
        shown what would go.""",
        ("aiinfra prune --older-than 90 --keep-last 5", "aiinfra prune --older-than 90 --keep-last 5 --model rain --yes"),
    ),
    "audit": Command("auditing:audit", "Re-check, publish and deliver the audit log."),
    "keys": Command("keys:keys", "Make a signing key, show whose signatures count, or check that the signers sign."),
    "trust": Command("trusting:trust", "Say whose signatures count: make, change, rotate, show and publish the trust root."),
    "serve": Command(
        "serving:serve",
        """Serve the HTTP API until it is told to stop; requests that are under way are finished first.

        With nothing configured it runs on the embedded PostgreSQL, started and migrated when it is not yet.""",
        (
            "aiinfra serve",
            "aiinfra serve --addr 127.0.0.1:8061",
            "aiinfra serve --workers 4 --run-runner --tls-cert service.pem --tls-key service.key --tls-client-ca clients.pem",
        ),
    ),
    "runner": Command(
        "runner:runner",
        """Run the trainings that wait, each under a lease, until told to stop; as serve --run-runner, in a process of its own.

        With AI_INFRA_PREFECT_DEPLOYMENT it runs none itself, but sees that each is run by Prefect.""",
        ("aiinfra runner", "aiinfra runner --at-once 4"),
    ),
    "migrate": Command("servers:migrate", "Apply the migrations the database lacks.", ("aiinfra migrate", "aiinfra migrate --roles")),
    "up": Command(
        "servers:up",
        "Start the embedded PostgreSQL and the local Prefect server, or reuse those that run; prints where the UI is.",
        ("aiinfra up",),
    ),
    "down": Command("servers:down", "Stop both; what they keep stays.", ("aiinfra down",)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (without it, the process's own) and return the exit code; an error is one line on standard error."""
    try:
        code = aiinfra()(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        _publish_what_was_written()
        return ExitCode.OK if code is None else int(code)
    except CycloptsError as error:
        return _fail(_mistyped(error), ExitCode.BAD_INPUT)
    except AiInfraError as error:
        proof = f" {_HOW_TO_PROVE}" if isinstance(error, Unauthenticated) else ""
        return _fail(_one_line(error) + proof, of_error(error))
    except KeyboardInterrupt:
        return _fail("Interrupted; the same command continues where this one stood.", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Python writes what is left to standard output when it ends, and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.NOBODY_READS
    except Exception as error:  # noqa: BLE001 - the outermost place; its text may hold a secret, so only its kind is told
        return _fail(f"Something unexpected happened ({type(error).__name__}); AI_INFRA_DEBUG=1 shows where.", ExitCode.UNEXPECTED)


def aiinfra() -> App:
    """Return the command line, its commands not imported yet."""
    app = App(
        name="aiinfra",
        help="Take a model from training to production so that every step can be re-checked by someone who does not trust it.",
        help_format="plaintext",
        help_epilogue="Begin with: aiinfra init. Exit codes: docs/cli.md.",
        version=_version,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for order, (name, command) in enumerate(COMMANDS.items()):
        more = {"help_epilogue": examples(*command.examples)} if command.examples else {}
        app.command(f"aiinfra_core.cli.{command.place}", name=name, help=command.does, sort_key=order, **more)
    return app


def _publish_what_was_written() -> None:
    keeping_up = sys.modules.get("aiinfra_core.audit_log.keeping_up")  # a command that wrote has imported it; the others start fast
    if keeping_up is not None:
        keeping_up.at_the_end()


def _version() -> str:
    from importlib.metadata import version  # imported late: only --version needs it

    return version("ai-infrastructure")


def _mistyped(error: CycloptsError) -> str:
    words = " ".join(("aiinfra", *(error.command_chain or ())))
    if isinstance(error, UnknownCommandError) and "--server" in str(error):
        return "--server comes after the command, such as: aiinfra models list --server URL"
    if isinstance(error, UnknownOptionError) and "--server" in str(error):
        return f"{words} works on this machine's own installation and takes no --server."
    return f"{_one_line(error)} See: {words} --help"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _fail(line: str, code: ExitCode) -> int:
    if os.environ.get("AI_INFRA_DEBUG") == "1":
        traceback.print_exc()
    print(f"aiinfra: {''.join(letter if letter.isprintable() else ' ' for letter in line)}", file=sys.stderr)  # noqa: T201 - the one place
    return code
