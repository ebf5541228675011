"""``incv3d model prepare``: everything that has to be done to a model before the daemon can be quick."""

from __future__ import annotations

import click

from incv3d.cli.model_fetch import fetch
from incv3d.cli.model_options import say, servants_store
from incv3d.cli.options import config_option


@click.command()
@config_option
@click.pass_context
def prepare(context: click.Context, config_path: str | None) -> None:
    """Get the configured model ready: fetched, prepared, and its known picture recognised.

    `incv3d run` does the same when it has to; done ahead, it starts within seconds.
    """
    from incv3d.config.loading import load_config
    from incv3d.models.catalog import load_catalog
    from incv3d.pipeline.loader import load_classifier, model_fetcher

    store = servants_store(config_path)
    config = load_config(config_path).config
    known = load_catalog().get(config.model.name)
    if known and known.url and config.model.name not in store.names():
        context.invoke(fetch, name=config.model.name, config_path=config_path)
    fetcher = model_fetcher(config, store, say)
    loaded = load_classifier(config, store, warmup_runs=0, progress=say, fetch=fetcher)
    loaded.classifier.close()
    facts = loaded.facts
    click.echo(f"{loaded.model} is ready, for {facts.engine} {facts.version}, {facts.precision}")
