"""The custom resources: what is right, what is wrong in sentences, and the CRD made from both."""
