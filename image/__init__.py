"""Scripts of the container image: its smoke test and the entry of the Flex Template."""
