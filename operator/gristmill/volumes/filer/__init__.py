"""The adapter for SeaweedFS's filer, which FileVolumes are on; see `gristmill.volumes.port`."""
