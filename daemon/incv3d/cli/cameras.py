"""``incv3d cameras``: list the cameras of this machine."""

from __future__ import annotations

import click

from incv3d.cli.options import json_option


@click.command()
@json_option
def cameras(as_json: bool) -> None:
    """List this machine's cameras, each with the configuration line that selects it."""
    from incv3d.sources import list_cameras

    found, notes = list_cameras()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({"cameras": found, "notes": notes}))
        return
    if not found:
        click.echo("no cameras found")
    for camera in found:
        click.echo(f"{camera.path}  {camera.name}  ({camera.type})")
        for format_, sizes in camera.formats.items():
            listed = " ".join(f"{width}x{height}" for width, height in sizes)
            click.echo(f"  {format_.strip():4}  {listed or 'any size within limits'}")
        click.echo(f"  {camera.configuration}")
    for note in notes:
        click.echo(note, err=True)
