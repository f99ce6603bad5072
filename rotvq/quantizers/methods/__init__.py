"""One file a method: what else quantises a latent vector, each behind the call of VectorQuantizer."""
