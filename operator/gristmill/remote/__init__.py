"""Jobs on a cluster, from outside: by the rights of whoever asks."""
