"""Every event, in its order, to everybody who keeps a copy: at least once, and nobody holds up anybody else.

sinks             who is configured, and under which secret-free name they are known
cloud_events      one kind of sink: CloudEvents over HTTP
webhook, router   two more: what people are told of, and a router of how traffic is split
signed_post, guarded  how both are sent, and where they may lead
archive, values   the other: whole entries as objects, and the large values they name by digest
archive_reading   an archive read back, in order
delivery          one round over every sink;  progress  how far each got, and what was set aside
replay            the same events once more, for somebody who lost them
"""
