"""Domain values to protobuf messages and back; nothing here decides anything."""
