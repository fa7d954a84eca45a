"""What travels: parameters by a codec, in a frame with a checksum; updates up, broadcasts down."""
