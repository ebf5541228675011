"""``incv3d model prepare``: do ahead of time what the daemon would have to do at its first start."""

from __future__ import annotations

import click

from incv3d.cli.model_fetch import fetch
from incv3d.cli.model_options import store_to_change
from incv3d.cli.options import config_option
from incv3d.cli.output import say


@click.command()
@config_option
@click.pass_context
def prepare(context: click.Context, config_path: str | None) -> None:
    """Fetch, prepare and test the configured model.

    `incv3d run` does this itself if necessary; done ahead of time, the daemon starts within seconds.
    """
    from incv3d.config.loading import load_config
    from incv3d.models.catalog import load_catalog
    from incv3d.pipeline.loader import load_classifier, model_fetcher

    store = store_to_change(config_path)
    config = load_config(config_path).config
    known = load_catalog().get(config.model.name)
    if known and known.url and config.model.name not in store.names():
        context.invoke(fetch, name=config.model.name, config_path=config_path)
    fetcher = model_fetcher(config, store, say)
    loaded = load_classifier(config, store, warmup_runs=0, progress=say, fetch=fetcher)
    loaded.classifier.close()
    facts = loaded.facts
    click.echo(f"{loaded.model} is ready for {facts.engine} {facts.version}, {facts.precision}")
