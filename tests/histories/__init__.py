"""The recorded histories of OpenWorkflow for TypeScript, gone through again by owsuper.

``flows`` makes workflows of their pseudo-JSON, ``following`` does what was done from outside,
``rows`` reads and compares what is stored then.
"""
