"""The Python client's list and watch of one kind in a namespace, through whatever address it is given: a line of JSON an event.

Usage: watch.py http://HOST:PORT NAMESPACE configmaps|widgets. It runs until it is killed.
"""

import json
import sys
import time

import urllib3
from kubernetes import client, watch


def say(what, **more):
    print(json.dumps({"type": what, **more}), flush=True)


def lister(api_client, namespace, kind):
    """What lists the kind: a method of the typed client, or of the one for custom resources, with its arguments."""
    if kind == "configmaps":
        return client.CoreV1Api(api_client).list_namespaced_config_map, [namespace]
    custom = client.CustomObjectsApi(api_client)
    return custom.list_namespaced_custom_object, ["toono.test", "v1", namespace, kind]


def fill(api_client, function, args):
    """Lists, says every item, and returns the list's version."""
    say("INIT")
    typed = function(*args)
    whole = json.loads(api_client.last_response.data)
    count = len(typed["items"] if isinstance(typed, dict) else typed.items)
    if count != len(whole["items"]):
        say("ERROR", text=f"{count} items instead of {len(whole['items'])}")
    for item in whole["items"]:
        say("ITEM", object=item)
    version = whole["metadata"]["resourceVersion"]
    say("INITDONE", version=version)
    return version


def main():
    base, namespace, kind = sys.argv[1:]
    configuration = client.Configuration()
    configuration.host = base
    configuration.retries = False
    api_client = client.ApiClient(configuration)
    function, args = lister(api_client, namespace, kind)
    version = None
    while True:
        stream = watch.Watch()
        try:
            if version is None:
                version = fill(api_client, function, args)
            # Without a timeout the client goes on by itself where the server ends a watch.
            for event in stream.stream(function, *args, resource_version=version, allow_watch_bookmarks=True):
                seen = event["raw_object"]
                version = seen["metadata"]["resourceVersion"]
                say(event["type"], object=seen)
        except client.ApiException as e:
            say("ERROR", text=f"{e.status} {e.reason} {e.body}")
            if e.status == 410:
                version = None
        except (urllib3.exceptions.HTTPError, OSError) as e:
            say("ERROR", text=repr(e))
        time.sleep(0.3)


main()
