"""--mode=serve: HTTP server of a detector, with a demo page."""

from absl import logging

from efficientdet_pipeline.errors import ExitCode, StoppedError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.serve import ServeOptions
from efficientdet_pipeline.serving.loading import load_service
from efficientdet_pipeline.serving.server import DetectionServer, check_installed


def run(options: ServeOptions, read: Sources, hparams: HparamsGiven) -> ExitCode:
    """Serves the detector that the options name until SIGTERM or Ctrl-C; requests in progress are completed."""
    del read
    check_installed()
    service = load_service(options, hparams)
    with DetectionServer(service, options.server) as server:
        if not options.server.is_local:
            logging.warning(
                "%s is open to other machines, without authentication and encryption; docs/serving.md describes how to "
                "protect it.",
                server.url,
            )
        logging.info("%s is a demo page for images; POST %spredict is the API for programs.", server.url, server.url)
        try:
            server.wait()
        except StoppedError:
            logging.info("Stopped by SIGTERM, after the requests in progress.")
        except KeyboardInterrupt:
            logging.info("Stopped by Ctrl-C, after the requests in progress.")
    return ExitCode.DONE
