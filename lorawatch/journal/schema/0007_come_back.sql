-- Asked of every accepted file at every start: was it given up because it was away? Hardly any was.
CREATE INDEX delivery_come_back ON delivery (artifact_id)
    WHERE state = 'cancelled' AND code IN ('source-vanished', 'source-changed');
