"""One file per verb, over the ports that adapters implement."""
