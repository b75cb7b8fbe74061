"""What all doors share, without a framework: plain values in, plain values or typed errors out."""
