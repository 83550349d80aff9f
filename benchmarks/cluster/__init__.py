"""Gristmill's operator beside plain Jobs, on the cluster of $KUBECONFIG: the same image, the same node, in turns."""
