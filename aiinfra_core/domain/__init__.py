"""The words of the product as frozen records: training, artifacts, promotions, and the moves a status may make.

No I/O, no SQL, no HTTP: a record checks itself when it is made and never changes afterwards.
"""
