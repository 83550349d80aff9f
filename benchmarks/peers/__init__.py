"""The peers, each as somebody who knows it well would write it: every choice that made it faster was kept."""
