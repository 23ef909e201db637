"""`python -m worker`: a worker with one slot per GPU, or as many as the settings say."""

from __future__ import annotations

from worker.celery_app import WORKER_ID, celery_app


def main() -> None:
    """Run until SIGTERM or SIGINT, on which running jobs are handed back."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    celery_app.worker_main(["--quiet", "worker", "--pool", "prefork", "--hostname", f"{WORKER_ID}@realm", *quiet])


if __name__ == "__main__":
    main()
